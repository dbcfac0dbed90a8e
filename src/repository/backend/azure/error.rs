//! What an answer of the store, or the lack of one, means.

use azure_core::{
    error::ErrorKind as SdkErrorKind,
    http::{
        RawResponse,
        headers::{HeaderName, Headers},
    },
};
use jiff::{SignedDuration, Timestamp};

use super::{
    super::{
        ErrorKind,
        failure::Failure,
        proxy,
        said::{Said, chain, shortened},
    },
    connect::Identity,
    credential::NOT_FOUND,
    refusals::REFUSALS,
    time_in,
};

const NOT_AZURE: &str = "the answer is not that of an Azure Blob store: correct the endpoint";

/// From here on a clock that is wrong is a likelier cause than a key that is.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What `error` means to somebody who asks as `identity`.
pub(super) fn failure(error: &azure_core::Error, identity: Identity) -> Failure {
    match error.kind() {
        SdkErrorKind::HttpResponse { status, raw_response, .. } => {
            refusal(&Answer::new(u16::from(*status), raw_response.as_deref()), identity)
        }
        SdkErrorKind::Credential => no_token(error),
        SdkErrorKind::Connection | SdkErrorKind::Io => not_sent(&chain(error)),
        SdkErrorKind::DataConversion => Failure::new(ErrorKind::Unsupported, NOT_AZURE).because(Said(chain(error))),
        _ => Failure::new(ErrorKind::Other, "the request cannot be made").because(Said(chain(error))),
    }
}

/// Whether the store says that something is under the key already, and that it was not touched.
pub(super) fn exists(error: &azure_core::Error) -> Option<Exists> {
    let SdkErrorKind::HttpResponse { status, raw_response, .. } = error.kind() else { return None };
    let answer = Answer::new(u16::from(*status), raw_response.as_deref());
    match (answer.status, answer.code) {
        (409, Some("BlobAlreadyExists")) => Some(Exists::Yes),
        // To one who may create, and not write over what is there.
        (403, Some("UnauthorizedBlobOverwrite")) => Some(Exists::Yes),
        (409, Some("BlobImmutableDueToPolicy" | "BlobImmutableDueToLegalHold")) => Some(Exists::IfSeen),
        // The condition of a create-only put is that there is nothing.
        (412, Some("ConditionNotMet" | "TargetConditionNotMet")) => Some(Exists::IfSeen),
        // To one who may not write at all, and by some stores to one who may only create.
        (403, Some("AuthorizationPermissionMismatch")) => Some(Exists::IfSeenByACreator),
        _ => None,
    }
}

/// When the store said it.
pub(super) fn time_of(error: &azure_core::Error) -> Option<Timestamp> {
    let SdkErrorKind::HttpResponse { raw_response: Some(raw), .. } = error.kind() else { return None };
    time_in(raw.headers(), "date")
}

/// What a store says of a key that it does not put a second object under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exists {
    /// It is there.
    Yes,
    /// Nothing but an object that is there can be in this put's way, as in an immutable container: a look tells.
    IfSeen,
    /// It may be there; or this identity may put nothing.
    IfSeenByACreator,
}

/// Reading of a body that failed half-way.
pub(super) fn broken_body(error: &azure_core::Error) -> Failure {
    let text = chain(error);
    let failure = if text.contains("read timeout") {
        Failure::new(ErrorKind::TimedOut, "the store stopped sending")
    } else {
        Failure::new(ErrorKind::Unreachable, "the connection broke off")
    };
    failure.because(Said(text)).passing()
}

/// A refusal of the store, in its parts.
struct Answer<'a> {
    status: u16,
    code: Option<&'a str>,
    headers: Option<&'a Headers>,
    body: &'a [u8],
}

impl<'a> Answer<'a> {
    fn new(status: u16, raw: Option<&'a RawResponse>) -> Self {
        let headers = raw.map(RawResponse::headers);
        let code = header(headers, "x-ms-error-code").filter(|code| !code.is_empty());
        Self { status, code, headers, body: raw.map_or(&[], |raw| raw.body().as_ref()) }
    }

    /// The first line of what the store says for people: more of it may be about the request, and its signature.
    fn message(&self) -> Option<String> {
        let text = std::str::from_utf8(self.body).ok()?;
        let (_, rest) = text.split_once("<Message>")?;
        let line = rest.split(['<', '\n']).next().unwrap_or_default();
        Some(shortened(line)).filter(|line| !line.is_empty())
    }

    /// What the store said, for the log: it helps the store's operator to find the request.
    fn said(&self) -> Said {
        let request = header(self.headers, "x-ms-request-id").map(|id| format!(", request {}", shortened(id)));
        let message = self.message().map(|message| format!(": {message}")).unwrap_or_default();
        let code = self.code.map(shortened).unwrap_or_else(|| "no code".to_owned());
        Said(format!("the store said {code} (HTTP {}{}){message}", self.status, request.unwrap_or_default()))
    }

    /// How far the clock of the store is ahead of this machine's.
    fn ahead(&self) -> Option<SignedDuration> {
        Some(self.headers.and_then(|headers| time_in(headers, "date"))?.duration_since(Timestamp::now()))
    }
}

fn header<'a>(headers: Option<&'a Headers>, name: &'static str) -> Option<&'a str> {
    headers.and_then(|headers| headers.get_optional_str(&HeaderName::from_static(name)))
}

/// The store answered, and did not do it.
fn refusal(answer: &Answer<'_>, identity: Identity) -> Failure {
    // Azurite says with the code of a firewall what Azure says with that of credentials; the words are the same.
    let failed = answer.message().is_some_and(|words| words.contains("failed to authenticate"));
    let code = if failed { Some("AuthenticationFailed") } else { answer.code };
    let known = REFUSALS.iter().find(|known| code.is_some_and(|code| known.codes.contains(&code)));
    let known = known.or_else(|| REFUSALS.iter().find(|known| known.statuses.contains(&answer.status)));
    let failure = match known {
        Some(known) if known.codes.contains(&"AuthenticationFailed") => unauthenticated(answer, identity),
        Some(known) => Failure { passing: known.passing, ..Failure::new(known.kind, known.reason) },
        None if answer.status == 429 || answer.status >= 500 => busy(answer.status),
        None if answer.code.is_none() => Failure::new(ErrorKind::Unsupported, NOT_AZURE),
        None => {
            let words = answer.message().or_else(|| answer.code.map(shortened)).unwrap_or_default();
            Failure::new(ErrorKind::Other, format!("the store answered {}: {words}", answer.status))
        }
    };
    let failure = failure.asked_to_wait(header(answer.headers, "retry-after"));
    if failure.kind == ErrorKind::NotFound { failure } else { failure.because(answer.said()) }
}

fn busy(status: u16) -> Failure {
    let reason = match status {
        429 | 503 => format!("the store is overloaded or asks to slow down (HTTP {status})"),
        _ => format!("the store failed (HTTP {status})"),
    };
    Failure::new(ErrorKind::Other, reason).passing()
}

/// The store does not know who asks. It says why to nobody who might be guessing; but we know what we sent.
fn unauthenticated(answer: &Answer<'_>, identity: Identity) -> Failure {
    let now = Timestamp::now();
    let skew = answer.ahead().filter(|ahead| ahead.abs() > SKEW);
    let reason = match (identity, skew) {
        (_, Some(ahead)) => format!(
            "this machine's clock is {} {} the store's: set it right",
            minutes(ahead.abs()),
            if ahead.is_negative() { "ahead of" } else { "behind" }
        ),
        (Identity::Key, _) => "the account key is not that of this account: correct `azure.accountKey`".to_owned(),
        (Identity::Sas { until: Some(until), .. }, _) if until <= now => {
            format!("the SAS expired at {until}: make a new one")
        }
        (Identity::Sas { from: Some(from), .. }, _) if from > now => {
            format!("the SAS is not valid before {from}: wait, or make one that is")
        }
        (Identity::Sas { until: None, .. }, _) => {
            "the store does not accept the SAS: the access policy that it names has ended or is gone, or its key was \
             replaced; make a new one"
                .to_owned()
        }
        (Identity::Sas { .. }, _) => {
            "the store does not accept the SAS: it is of another account or container, or its key was replaced; make a new one"
                .to_owned()
        }
        (Identity::Token, _) => {
            "the store does not accept the identity's token: correct AZURE_TENANT_ID, which is the tenant of the account"
                .to_owned()
        }
    };
    let kind = if skew.is_some() { ErrorKind::ClockApart } else { ErrorKind::Unauthenticated };
    Failure::new(kind, reason)
}

fn minutes(duration: SignedDuration) -> String {
    match duration.as_mins() {
        ..=120 => format!("{} min", duration.as_mins()),
        _ => format!("{} h", duration.as_hours()),
    }
}

/// No token, so that nothing could be asked.
fn no_token(error: &azure_core::Error) -> Failure {
    let text = chain(error);
    if text.contains(NOT_FOUND) {
        let reason = "no credentials found: say `azure.accountKey` or `azure.sas`, set AZURE_STORAGE_KEY or the variables of an \
                      identity (AZURE_CLIENT_ID, AZURE_TENANT_ID and a secret or a token file), or log in with `az login`";
        return Failure::new(ErrorKind::Unauthenticated, reason).because(Said(text));
    }
    // What Entra answers has a number, and is final; what the network did is not.
    if let Some(number) = entra_number(&text) {
        let reason = format!(
            "Entra gives the identity no token ({number}): correct the AZURE_ variables, the federated credential or the secret"
        );
        return Failure::new(ErrorKind::Unauthenticated, reason).because(Said(text));
    }
    let failure = match known(&text) {
        Some(failure) => {
            let reason = format!("no token for the identity: {}", failure.reason);
            Failure { kind: ErrorKind::Unauthenticated, reason, ..failure }
        }
        None => {
            let reason = "no token for the identity: correct the AZURE_ variables, the token file or the secret";
            Failure::new(ErrorKind::Unauthenticated, reason)
        }
    };
    failure.because(Said(text))
}

/// The number of an error of Entra: `AADSTS700016`.
fn entra_number(text: &str) -> Option<&str> {
    let number = text.get(text.find("AADSTS")?..)?;
    let end = number.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(number.len());
    number.get(..end)
}

/// No answer, since there was no connection.
fn not_sent(text: &str) -> Failure {
    let failure = known(text)
        .unwrap_or_else(|| Failure::new(ErrorKind::Unreachable, "the connection failed or broke off").passing());
    failure.because(Said(text.to_owned()))
}

fn known(text: &str) -> Option<Failure> {
    let sign = || SIGNS.iter().find(|sign| sign.words.iter().any(|word| text.contains(word)));
    let failure = |sign: &Sign| Failure { passing: sign.passing, ..Failure::new(sign.kind, sign.reason) };
    proxy::failure_in(text).or_else(|| sign().map(failure))
}

/// How the cause of a call that got no answer is known. The client library has no types for most
/// of them; the tests against real servers hold that its words are still these.
struct Sign {
    words: &'static [&'static str],
    kind: ErrorKind,
    passing: bool,
    reason: &'static str,
}

const fn sign(words: &'static [&'static str], kind: ErrorKind, passing: bool, reason: &'static str) -> Sign {
    Sign { words, kind, passing, reason }
}

const SIGNS: &[Sign] = &[
    sign(
        &["dns error", "failed to lookup address", "Name or service not known"],
        ErrorKind::Unreachable,
        true,
        "the host name cannot be resolved: correct the account, the endpoint or the network",
    ),
    sign(
        &["Connection refused"],
        ErrorKind::Unreachable,
        true,
        "the connection was refused: nothing listens at this address, or a firewall is in the way",
    ),
    sign(
        &["connect timeout"],
        ErrorKind::Unreachable,
        true,
        "no connection in time: correct the endpoint, or open the firewall that is in the way",
    ),
    sign(&["read timeout"], ErrorKind::TimedOut, true, "no answer in time"),
    sign(
        &["invalid peer certificate", "UnknownIssuer"],
        ErrorKind::Unreachable,
        false,
        "the store's certificate is not trusted: say its authority as `azure.caFile`",
    ),
    sign(
        &["InvalidContentType", "received corrupt message", "HandshakeFailure", "handshake eof"],
        ErrorKind::Unreachable,
        false,
        "TLS is not agreed: does the address speak https",
    ),
];
