#!/usr/bin/env bash
# Recovers one backup of a drctl repository without drctl.
#
# It needs bash, the standard tools (head tail sort cut mkdir mktemp ln grep od tr base64), and zstd sha256sum b3sum jq.
# For an encrypted repository also age, and the identity of a recipient.
# It reads the repository and writes only into the new folder OUT. docs/format.md explains each step.

set -euo pipefail
export LC_ALL=C
set -o noclobber

usage() {
    cat <<'END'
usage: recover.sh [-i IDENTITY] REPOSITORY BACKUP OUT

  REPOSITORY  a folder with the repository (fetch one from a bucket with any tool, for example
              `aws s3 sync s3://bucket/prefix folder`)
  BACKUP      a backup id like 20261120T020000Z-k3x7pq; without it the backups are listed
  OUT         a folder that does not exist yet, or an empty one
  IDENTITY    for an encrypted repository: the file with the secret key of a recipient, of age-keygen

Every checksum is compared: of the control objects, of what lies under meta/, of each pack, and of each
part's plain bytes. Nothing is left in OUT under a final name that was not proven. Then OUT holds

  SOURCE/STREAM/000000-PART.EXT        each part, byte for byte: .jsonl Kubernetes objects, .copy rows
                                       of a table in COPY text form, .bson documents, .txt, .bin
  SOURCE.kubectl/NAMESPACE/NN-KIND.json  for Kubernetes: the same as Lists without what a server sets;
                                       `kubectl create -f FOLDER`, cluster-scoped ones (`_`) first
  SOURCE.psql/N/PIECE                  for PostgreSQL: the same as SQL in pieces (rows are links, not copies)

  SOURCE.mongorestore/DATABASE/FILE    for MongoDB: a folder for `mongorestore --stopOnError`

A PostgreSQL database is made again from its pieces, in the order of their names:

  jq '{owner, encoding, locale, settings, acl}' OUT/SOURCE/database.json/000000-whole.txt
  jq -r '.roles[].name' OUT/SOURCE/roles.json/000000-whole.txt     # the roles that must be there (docs/databases.md makes them)
  createdb --template=template0 --encoding=ENCODING --locale=LOCALE --owner=OWNER NEW
  cat OUT/SOURCE.psql/*/* | psql -X -q -v ON_ERROR_STOP=1 -d NEW

Characters of names other than A-Z a-z 0-9 - _ . ~ are percent-encoded.
END
}

fail() {
    printf 'recover.sh: %s\n' "$*" >&2
    exit 1
}

# A number as the format writes it. Everything that enters arithmetic goes through here.
is_number() { [[ $1 =~ ^(0|[1-9][0-9]{0,17})$ ]]; }
is_backup_id() { [[ $1 =~ ^[0-9]{8}T[0-9]{6}Z-[a-z2-7]{6}$ ]]; }
is_hash() { [[ $1 =~ ^[0-9a-f]{64}$ ]]; }
is_label() { [[ $1 =~ ^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$ ]]; }

# A regular file inside the repository: no link is followed.
file() {
    [[ -f "$repository/$1" && ! -L "$repository/$1" ]] || fail "$1 is missing from the repository"
    printf '%s' "$repository/$1"
}

sha256_of() { sha256sum <"$1" | head -c 64; }
b3_of() { b3sum --no-names <"$1" | head -c 64; }
size_of() {
    local bytes
    bytes=$(wc -c <"$1")
    printf '%s' "$((bytes))"
}

# check_object KEY SIZE SHA256: an object is what another one says of it.
check_object() {
    local path
    path=$(file "$1")
    if [[ $2 != any ]]; then
        [[ $(size_of "$path") == "$2" ]] || fail "$1 does not have the $2 bytes that are recorded"
    fi
    [[ $(sha256_of "$path") == "$3" ]] || fail "$1 does not have the SHA-256 that is recorded"
}

# control KEY KIND: the JSON of a control object whose second line is the SHA-256 of the first.
control() {
    local path
    path=$(file "$1")
    [[ $(head -n 1 "$path" | sha256sum | head -c 64) == "$(tail -n +2 "$path")" ]] || fail "$1 is damaged"
    head -n 1 "$path" | jq -e --arg kind "$2" 'select(.drctl == $kind)' || fail "$1 is no $2"
}

identity=
if [[ ${1:-} == -i ]]; then
    [[ -f ${2:-} ]] || fail "-i needs the file of an identity"
    identity=$2
    shift 2
fi
if [[ ${1:-} == -h || ${1:-} == --help || $# -eq 0 || $# -gt 3 ]]; then
    usage
    [[ $# -gt 0 && $# -le 3 ]] && exit 0
    exit 2
fi
for tool in head tail sort cut od base64 zstd sha256sum b3sum jq; do
    command -v "$tool" >/dev/null || fail "the program $tool is needed"
done

repository=$1
[[ -d $repository ]] || fail "$repository is no folder"
header=$(control repository.json repository)
[[ $(jq -r '.format' <<<"$header") == 1 ]] || fail "this script reads format 1"
mode=$(jq -r '.encryption.mode' <<<"$header")
case $(jq -r '.requires | join(" ")' <<<"$header")/$mode in
    /none) age='' ;;
    encryption-age/age) age=.age ;;
    *) fail "the repository needs $(jq -c '.requires' <<<"$header"), and is encrypted by $mode" ;;
esac

if [[ $# -lt 3 ]]; then
    for path in "$repository"/backups/*/*/*.json; do
        [[ -f $path ]] || continue
        key=${path#"$repository"/}
        head -n 1 "$path" | jq -r '[.backup, .state, .schedule] | @tsv' 2>/dev/null || printf '%s\tdamaged\n' "$key"
    done
    [[ $# -eq 1 ]] && exit 0
    usage >&2
    exit 2
fi

backup=$2 out=$3
is_backup_id "$backup" || fail "$backup is no backup id"
found=("$repository"/backups/*/*/"$backup".json)
[[ ${#found[@]} -eq 1 && -f ${found[0]} ]] || fail "there is no backup $backup"
manifest=$(control "${found[0]#"$repository"/}" manifest)
[[ $(jq -r '.backup' <<<"$manifest") == "$backup" ]] || fail "the manifest is of another backup"
[[ $(jq -r '.repository' <<<"$manifest") == "$(jq -r '.id' <<<"$header")" ]] || fail "the manifest is of another repository"

mkdir -p "$out"
[[ -z $(ls -A "$out") ]] || fail "$out is not empty"
umask 077
work=$(mktemp -d "$out/.work-XXXXXX")
trap 'rm -rf "$work"' EXIT

# The secret key of the backup's epoch, from a key file that the identity opens.
open_epoch() {
    local epoch key_file
    [[ -n $identity ]] || fail "the repository is encrypted: name the identity of a recipient with -i"
    command -v age >/dev/null || fail "the program age is needed"
    epoch=$(jq -r '.epoch' <<<"$manifest")
    [[ $epoch =~ ^age1[a-z0-9]{58}$ ]] || fail "the manifest names no epoch"
    for key_file in "$repository/keys/$epoch"-*.age; do
        [[ -f $key_file && ! -L $key_file ]] || continue
        age -d -i "$identity" <"$key_file" >|"$work/key" 2>/dev/null || continue
        [[ $(head -n 1 "$work/key" | sha256sum | head -c 64) == $(tail -n 1 "$work/key") ]] || continue
        head -n 1 "$work/key" | jq -e --arg e "$epoch" --arg r "$(jq -r '.id' <<<"$header")" \
            'select(.drctl == "key" and .epoch == $e and .repository == $r)' >/dev/null || continue
        head -n 1 "$work/key" | jq -r '.secretKey' >|"$work/epoch"
        # Whoever may write in the store can plant a file with other keys: those of the backup open its list of streams.
        age -d -i "$work/epoch" <"$(file "meta/$backup/streams.jsonl.zst.age")" >/dev/null 2>&1 || continue
        rm "$work/key"
        return
    done
    fail "the identity opens no key file of the epoch $epoch whose key opens the list of streams of $backup"
}
[[ -z $age ]] || open_epoch

# plain KEY: what is stored under the key, decrypted if need be, on standard output.
plain() {
    local path
    path=$(file "$1")
    if [[ -z $age ]]; then cat "$path"; else age -d -i "$work/epoch" <"$path"; fi
}

# What the manifest names: the packs, and the streams with their indexes.
for object in refs streams; do
    read -r size sha256 < <(jq -r --arg o "$object" '.[$o] | "\(.size) \(.sha256)"' <<<"$manifest")
    suffix=$([[ $object == refs ]] && printf tsv.zst || printf 'jsonl.zst%s' "$age")
    check_object "meta/$backup/$object.$suffix" "$size" "$sha256"
done
plain "meta/$backup/streams.jsonl.zst$age" | zstd -dcq >"$work/streams.jsonl"
jq -r 'select(.type == "index") | [.index, .size, .sha256] | @tsv' "$work/streams.jsonl" >"$work/indexes"
: >"$work/index.tsv"
while IFS=$'\t' read -r n size sha256; do
    is_number "$n" || fail "an index has no number"
    check_object "meta/$backup/index-$n.tsv.zst$age" "$size" "$sha256"
    plain "meta/$backup/index-$n.tsv.zst$age" | zstd -dcq >>"$work/index.tsv"
done <"$work/indexes"

# Names as they may be used for files: no slash, no leading dot, not too long.
safe='def safe: @uri | if startswith(".") then "%2E" + .[1:] else . end
    | if . == "" then "_" else . end | if length > 150 then .[0:150] + "~" else . end;
    def ext: {"application/vnd.drctl.kubernetes+jsonl": "jsonl", "text/plain": "txt",
    "application/vnd.drctl.table": "copy", "application/vnd.drctl.collection": "bson"}[.] // "bin";'
jq -r "$safe"'select(.type == "stream")
    | [.stream, .source, (.name | safe), (.mediaType | ext), .length, .chunks, .parts, (.name | @base64)] | @tsv' \
    "$work/streams.jsonl" >"$work/streams.tsv"
jq -r "$safe"'select(.type == "part") | [.stream, .part, .offset, .length, .blake3, (.name | safe)] | @tsv' \
    "$work/streams.jsonl" | sort -t $'\t' -k1,1n -k2,2n >"$work/parts.tsv"
sort -t $'\t' -k1,1n -k2,2n "$work/index.tsv" >"$work/chunks.tsv"

# Each pack is named by the SHA-256 of its bytes.
declare -A pack_is_sound
check_pack() {
    [[ -z ${pack_is_sound["$1/$2"]:-} ]] || return 0
    is_backup_id "$1" && is_hash "$2" || fail "an index names an impossible pack"
    check_object "data/$1/$2" any "$2"
    [[ -z $age ]] || plain "data/$1/$2" >"$work/pack-$1-$2"
    pack_is_sound["$1/$2"]=yes
}

# cut_out FILE OFFSET LENGTH: a range of a file. `head` may leave before `tail` has written all.
cut_out() {
    { tail -c "+$(($2 + 1))" "$1" || true; } | head -c "$3"
}

# Frames of a stream, one after the other, are its plain bytes compressed. Streams and chunks are both
# in the order of their numbers, so each list is read once.
exec 3<"$work/chunks.tsv" 4<"$work/parts.tsv"
next_chunk() {
    if ! IFS=$'\t' read -r c_stream c_number _ c_backup c_pack c_offset c_length _ <&3; then
        c_stream=none
    elif ! { is_number "$c_stream" && is_number "$c_offset" && is_number "$c_length"; }; then
        fail "an index line is impossible"
    fi
}
next_part() {
    if ! IFS=$'\t' read -r p_stream p_number p_offset p_length p_blake3 p_name <&4; then
        p_stream=none
    elif ! { is_number "$p_stream" && is_number "$p_number" && is_number "$p_offset" && is_number "$p_length"; }; then
        fail "a part is impossible"
    fi
}

join_chunks() { # STREAM CHUNKS LENGTH
    local count=0 path
    : >"$work/frames"
    while [[ $c_stream != none && $c_stream -lt $1 ]]; do next_chunk; done
    while [[ $c_stream == "$1" ]]; do
        [[ $c_number == "$count" ]] || fail "stream $1 has no chunk $count"
        check_pack "$c_backup" "$c_pack"
        path=$([[ -z $age ]] && file "data/$c_backup/$c_pack" || printf '%s' "$work/pack-$c_backup-$c_pack")
        cut_out "$path" "$c_offset" "$c_length" >>"$work/frames"
        count=$((count + 1))
        next_chunk
    done
    [[ $count == "$2" ]] || fail "stream $1 has $count of $2 chunks"
    # No more than is recorded is ever written; whether it is all and right shows afterwards.
    { [[ $count -eq 0 ]] || zstd -dcq <"$work/frames" || true; } | head -c "$(($3 + 1))" >|"$work/plain"
    rm "$work/frames"
}

# Where a kind belongs in the order in which kubectl should create it.
order_of() {
    case $1 in
        namespaces*) printf 00 ;;
        customresourcedefinitions*) printf 01 ;;
        priorityclasses* | storageclasses* | ingressclasses* | runtimeclasses*) printf 05 ;;
        serviceaccounts* | *roles.* | *rolebindings.*) printf 10 ;;
        secrets* | configmaps* | limitranges* | networkpolicies*) printf 20 ;;
        services* | persistentvolumeclaims*) printf 30 ;;
        *webhookconfigurations* | apiservices* | resourcequotas*) printf 90 ;;
        *) printf 50 ;;
    esac
}

kubectl_list() { # FROM TO
    jq -s '{apiVersion: "v1", kind: "List", items: [.[]
        | del(.status, .metadata.uid, .metadata.resourceVersion, .metadata.generation, .metadata.selfLink,
              .metadata.creationTimestamp, .metadata.deletionTimestamp, .metadata.managedFields,
              .metadata.ownerReferences)
        | if .kind == "Service" and .spec.clusterIP != "None" then del(.spec.clusterIP, .spec.clusterIPs) else . end
        | if .kind == "PersistentVolumeClaim"
          then del(.spec.volumeName, .metadata.annotations["pv.kubernetes.io/bind-completed"],
                   .metadata.annotations["pv.kubernetes.io/bound-by-controller"]) else . end]}' <"$1" >"$2"
}

# The folder of each stream, by its source and the base64 of its name.
declare -A folders
folder_of() { # SOURCE STREAM
    local key
    key="$1/$(printf %s "$2" | base64 -w 0)"
    folder=${folders["$key"]:-}
    [[ -n $folder ]]
}

# A database as SQL: what pg_restore made of its table of contents when the backup was taken, and the rows between.
text_piece() { # SOURCE N STREAM
    folder_of "$1" "$3" || return 1
    mkdir -p "$out/$1.psql/$2"
    ln "$folder/000000-whole.txt" "$out/$1.psql/$2/$3"
}

row_pieces() { # SOURCE PIECE
    local part
    for part in "$folder"/*.copy; do
        [[ -s $part ]] || continue
        # After a line that ends the rows, psql would take what follows for SQL.
        ! grep -aqx '\\\.' "$part" || fail "$part has a line that ends the rows"
        [[ $(tail -c 1 "$part" | od -An -tx1) == *0a ]] || fail "$part ends within a row"
        ln "$part" "$2-2-${part##*/}"
    done
}

object_pieces() { # SOURCE
    local part oid hex
    for part in "$folder"/*.bin; do
        [[ -f $part ]] || continue
        oid=${part##*-} oid=${oid%.bin}
        is_number "$oid" || fail "a large object of $1 has no number"
        printf "\nBEGIN;\nSELECT pg_catalog.lo_open('%s', 131072);\n" "$oid"
        od -An -v -tx1 -w8192 "$part" | tr -d ' ' | while read -r hex; do
            # Not as a literal of bytes: what a backslash means is a setting, and the database may have its own.
            printf "SELECT pg_catalog.lowrite(0, pg_catalog.decode('%s', 'hex'));\n" "$hex"
        done
        printf 'SELECT pg_catalog.lo_close(0);\nCOMMIT;\n'
    done
}

psql_pieces() { # SOURCE
    local source=$1 psql="$out/$1.psql" document piece n=0 stream copy encoding
    if ! folder_of "$source" database.json; then
        printf 'recover.sh: %s has no database.json: its parts are not put together as SQL\n' "$source" >&2
        return
    fi
    document="$folder/000000-whole.txt"
    jq -e 'select(.apiVersion == "drctl/v1" and .kind == "PostgresDatabase")' "$document" >/dev/null ||
        fail "database.json of $source is of another version"
    encoding=$(jq -r .encoding "$document")
    [[ $encoding =~ ^[A-Za-z0-9_]+$ ]] || fail "the encoding of $source has an impossible name"
    text_piece "$source" 1 pre-data.sql || fail "$source has no pre-data.sql"
    text_piece "$source" 2 large-objects.sql || true
    mkdir -p "$psql/3" "$psql/4" "$psql/5"
    # What decides how values are read from text, whatever the settings of the database are. Names are in UTF-8 here,
    # rows in the encoding of the database, which is said with each COPY.
    printf 'SET %s;\n' "client_encoding = 'UTF8'" "TimeZone = 'UTC'" "lc_monetary = 'C'" "array_nulls = on" "xmloption = content" \
        "DateStyle = 'ISO'" "IntervalStyle = 'postgres'" >"$psql/3/settings.sql"
    while IFS=$'\t' read -r stream copy; do
        n=$((n + 1))
        piece="$psql/4/$(printf '%06d' "$n")"
        folder_of "$source" "$(base64 -d <<<"$stream")" || fail "a table of $source has no stream"
        { base64 -d <<<"$copy" && echo; } >"$piece-1-copy.sql"
        row_pieces "$source" "$piece"
        printf '\\.\n' >"$piece-3-end.sql"
    done < <(jq -r --arg encoding "$encoding" '.tables[] | [(.stream | @base64), (.copy | rtrimstr(";")
        | . + " WITH (ENCODING \u0027" + $encoding + "\u0027);" | @base64)] | @tsv' "$document")
    n=0
    while read -r stream; do
        n=$((n + 1))
        folder_of "$source" "$(base64 -d <<<"$stream")" || fail "large objects of $source have no stream"
        object_pieces "$source" >"$psql/5/$(printf '%06d' "$n").sql"
    done < <(jq -r '.largeObjects[] | .stream | @base64' "$document")
    text_piece "$source" 6 sequences.sql || fail "$source has no sequences.sql"
    text_piece "$source" 7 post-data.sql || fail "$source has no post-data.sql"
}

# A folder for mongorestore: the documents of each collection, and what mongodump writes of it beside them.
mongorestore_pieces() { # SOURCE
    local source=$1 database line file stream into
    folder_of "$source" database.json || fail "$source has no database.json"
    database=$(jq -er 'select(.apiVersion == "drctl/v1" and .kind == "MongodbDatabase") | .name | @uri' \
        "$folder/000000-whole.txt") || fail "database.json of $source is of another version"
    [[ $database =~ ^[A-Za-z0-9_~%-]+$ ]] || fail "the database of $source has an impossible name"
    into="$out/$source.mongorestore/$database"
    mkdir -p "$into"
    folder_of "$source" metadata.jsonl || fail "$source has no metadata.jsonl"
    while read -r line; do
        file=$(jq -er .file <<<"$line")
        [[ $file =~ ^[A-Za-z0-9._~%+-]+$ ]] || fail "a collection of $source has an impossible file name"
        jq -ej .metadata <<<"$line" >"$into/$file.metadata.json"
        stream=$(jq -r '.stream // empty | @base64' <<<"$line")
        [[ -n $stream ]] || continue
        folder_of "$source" "$(base64 -d <<<"$stream")" || fail "a collection of $source has no stream"
        [[ $(jq -r '.metadata | fromjson | .type' <<<"$line") != timeseries ]] || file="system.buckets.$file"
        cat "$folder"/*.bson >"$into/$file.bson"
    done <"$folder/000000-whole.txt"
}

streams=0 parts=0 bytes=0
next_chunk
next_part
while IFS=$'\t' read -r number source name ext length chunks count exact; do
    is_number "$number" && is_label "$source" && is_number "$length" || fail "a stream is impossible"
    join_chunks "$number" "$chunks" "$length"
    [[ $(size_of "$work/plain") == "$length" ]] || fail "stream $source/$name does not have its $length bytes"
    [[ $name != *"~" ]] || name="$name$number"
    mkdir -p "$out/$source"
    mkdir "$out/$source/$name"
    seen=0 end=0
    while [[ $p_stream != none && $p_stream -lt $number ]]; do next_part; done
    while [[ $p_stream == "$number" ]]; do
        [[ $p_number == "$seen" && $p_offset == "$end" ]] || fail "the parts of $source/$name do not follow each other"
        cut_out "$work/plain" "$p_offset" "$p_length" >|"$work/part"
        [[ $(b3_of "$work/part") == "$p_blake3" ]] || fail "part $p_name of $source/$name does not have its BLAKE3"
        final="$out/$source/$name/$(printf '%06d' "$p_number")-$p_name.$ext"
        if [[ $ext == jsonl ]]; then
            mkdir -p "$out/$source.kubectl/$p_name"
            kubectl_list "$work/part" "$out/$source.kubectl/$p_name/$(order_of "$name")-$name.json"
        fi
        mv -n "$work/part" "$final"
        seen=$((seen + 1)) end=$((end + p_length)) parts=$((parts + 1)) bytes=$((bytes + p_length))
        next_part
    done
    [[ $seen == "$count" && $end == "$length" ]] || fail "stream $source/$name has $seen of $count parts"
    folders["$source/$exact"]="$out/$source/$name"
    streams=$((streams + 1))
done < <(sort -t $'\t' -k1,1n "$work/streams.tsv")
while read -r source; do
    is_label "$source" || fail "a source has an impossible name"
    psql_pieces "$source"
done < <(jq -r '.sources[] | select(.kind == "postgres") | .name' <<<"$manifest")
while read -r source; do
    is_label "$source" || fail "a source has an impossible name"
    mongorestore_pieces "$source"
done < <(jq -r '.sources[] | select(.kind == "mongodb") | .name' <<<"$manifest")
printf 'recovered %s into %s: %d streams, %d parts, %d bytes; every checksum is right\n' \
    "$backup" "$out" "$streams" "$parts" "$bytes"
