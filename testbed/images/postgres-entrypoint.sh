#!/bin/sh
# Makes the cluster if its folder is empty, by the variables that the well-known image has, then runs PostgreSQL with
# the arguments given. A command that begins with another word than an option or "postgres" is run as it is.
set -eu

case "${1:-}" in
'' | -*) ;;
postgres) shift ;;
*) exec "$@" ;;
esac

user=${POSTGRES_USER:-postgres}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    umask 077
    mkdir -p "$PGDATA"
    printf '%s\n' "${POSTGRES_PASSWORD:?is not set}" >/tmp/password
    initdb --username="$user" --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync
    rm /tmp/password
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    if [ "${POSTGRES_DB:-$user}" != postgres ]; then
        pg_ctl --wait --options='-c listen_addresses= -c unix_socket_directories=/tmp' start
        createdb --host=/tmp --username="$user" "${POSTGRES_DB:-$user}"
        pg_ctl --wait stop
    fi
fi
exec postgres -c unix_socket_directories=/tmp "$@"
