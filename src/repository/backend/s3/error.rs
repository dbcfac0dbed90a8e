//! What an answer of the store, or the lack of one, means.

use std::error::Error as StdError;

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use super::super::{ErrorKind, failure::Failure};

/// What the client library and the store said, on one line and without anything of the request:
/// a request holds signatures.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

const NOT_S3: &str = "the answer is not that of an S3 store: correct the endpoint";

/// The longest text of a server that is passed on, in characters.
const LONGEST: usize = 300;

/// What `error` means.
pub(super) fn failure<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let meta = answer.err().meta();
            refusal(answer.raw(), meta.code(), meta.message())
        }
        SdkError::TimeoutError(_) => Failure::new(ErrorKind::TimedOut, "no answer in time").passing(),
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => not_sent(error),
        SdkError::ResponseError(answer) if answer.raw().status().is_server_error() => busy(answer.raw(), None, None),
        _ => Failure::new(ErrorKind::Other, NOT_S3).because(Said(chain(error))).passing(),
    }
}

/// Reading of a body that failed half-way.
pub(super) fn broken_body(error: &(dyn StdError + 'static)) -> Failure {
    let text = chain(error);
    let failure = if text.contains("ThroughputBelowMinimum") || text.contains("throughput") {
        Failure::new(ErrorKind::TimedOut, "the store stopped sending")
    } else {
        Failure::new(ErrorKind::Unreachable, "the connection broke off")
    };
    failure.because(Said(text)).passing()
}

/// The store answered, and did not do it.
fn refusal(answer: &HttpResponse, code: Option<&str>, message: Option<&str>) -> Failure {
    use ErrorKind::{Full, NoSuchStore, Other, PermissionDenied, TimedOut, Unauthenticated, Unsupported};

    let status = answer.status().as_u16();
    let (kind, reason) = match (code.unwrap_or_default(), status) {
        ("NoSuchBucket", _) => {
            (NoSuchStore, "the bucket does not exist: make it, or correct its name, region or endpoint")
        }
        ("NoSuchKey" | "NotFound", _) => return Failure::not_found(),
        ("SignatureDoesNotMatch", _) => {
            (Unauthenticated, "the secret access key is wrong for this access key id: correct the credentials")
        }
        ("InvalidAccessKeyId", _) => {
            (Unauthenticated, "the store does not know the access key id: correct the credentials")
        }
        ("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired", _) => {
            (Unauthenticated, "the credentials have expired: renew them")
        }
        ("InvalidToken" | "InvalidSecurity" | "CredentialsNotSupported" | "InvalidClientTokenId", _) | (_, 401) => {
            (Unauthenticated, "the store does not accept the credentials: correct them")
        }
        ("RequestTimeTooSkewed", _) => {
            (Unauthenticated, "this machine's clock differs too much from the store's: set it right")
        }
        ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _) | (_, 301) => {
            return elsewhere(answer).because(said(answer, code, message));
        }
        ("QuotaExceeded" | "XMinioStorageFull" | "InsufficientCapacity", _) | (_, 507) => {
            (Full, "the store has no space left, or a quota is used up")
        }
        ("InvalidRange", _) | (_, 416) => (Other, "the bytes asked for are not within the object"),
        ("NotImplemented" | "MethodNotAllowed", _) | (_, 405 | 501) => {
            (Unsupported, "the store does not know this operation, which drctl needs")
        }
        ("EntityTooLarge", _) | (_, 413) => (Unsupported, "the store does not take objects of this size"),
        ("InvalidObjectState", _) => {
            (Unsupported, "the object was moved to an archive: restore it to the store's normal class first")
        }
        ("BadDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch" | "IncompleteBody", _) => {
            let reason = "the store received other bytes than were sent";
            return Failure::new(Other, reason).because(said(answer, code, message)).passing();
        }
        ("ConditionalRequestConflict" | "OperationAborted", _) => {
            let reason = "another writer was busy with the same object";
            return Failure::new(Other, reason).because(said(answer, code, message)).passing();
        }
        ("RequestTimeout" | "RequestTimeoutException", _) | (_, 408) => {
            let reason = "the store did not get the request in time";
            return Failure::new(TimedOut, reason).because(said(answer, code, message)).passing();
        }
        (_, 403) => (
            PermissionDenied,
            "the credentials do not allow it (without leave to list the bucket, a missing object looks like this too)",
        ),
        ("SlowDown" | "Throttling" | "ThrottlingException" | "TooManyRequests", _) | (_, 429 | 500..) => {
            return busy(answer, code, message);
        }
        ("", _) => return Failure::new(Other, NOT_S3).because(said(answer, code, message)),
        _ => {
            let words = message.or(code).map(shortened).unwrap_or_default();
            return Failure::new(Other, format!("the store answered {status}: {words}"))
                .because(said(answer, code, message));
        }
    };
    Failure::new(kind, reason).because(said(answer, code, message))
}

fn busy(answer: &HttpResponse, code: Option<&str>, message: Option<&str>) -> Failure {
    let status = answer.status().as_u16();
    let reason = match status {
        429 | 503 => format!("the store is overloaded or asks to slow down (HTTP {status})"),
        _ => format!("the store failed (HTTP {status})"),
    };
    Failure::new(ErrorKind::Other, reason).because(said(answer, code, message)).passing()
}

fn elsewhere(answer: &HttpResponse) -> Failure {
    let reason = match answer.headers().get("x-amz-bucket-region") {
        Some(region) => format!("the bucket is in the region `{}`: say it as `s3.region`", shortened(region)),
        None => {
            "the bucket is in another region, or has another address: correct `s3.region` or `s3.endpoint`".to_owned()
        }
    };
    Failure::new(ErrorKind::NoSuchStore, reason)
}

/// No answer, since there was no connection, or nobody to ask in whose name.
fn not_sent<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: StdError + 'static,
{
    let text = chain(error);
    let dispatched = matches!(error, SdkError::DispatchFailure(_));
    let known = SIGNS.iter().find(|sign| sign.words.iter().any(|word| text.contains(word)));
    let failure = match known {
        Some(sign) => Failure { passing: sign.passing, ..Failure::new(sign.kind, sign.reason) },
        None if matches!(error, SdkError::DispatchFailure(broken) if broken.is_timeout()) => {
            Failure::new(ErrorKind::TimedOut, "no answer in time").passing()
        }
        None if dispatched => Failure::new(ErrorKind::Unreachable, "the connection failed or broke off").passing(),
        None => Failure::new(ErrorKind::Other, "the request cannot be made"),
    };
    failure.because(Said(text))
}

/// How the cause of a call that got no answer is known. The client library has no types for most
/// of them; the tests against real servers hold that its words are still these.
struct Sign {
    words: &'static [&'static str],
    kind: ErrorKind,
    passing: bool,
    reason: &'static str,
}

const SIGNS: &[Sign] = &[
    Sign {
        words: &["no providers in chain provided credentials", "the credential provider was not enabled"],
        kind: ErrorKind::Unauthenticated,
        passing: false,
        reason: "no credentials found: say `s3.accessKeyId` and `s3.secretAccessKey`, set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, or give the Pod a role",
    },
    Sign {
        words: &[
            "error occurred while loading credentials",
            "failed to load credentials",
            "identity resolver timed out",
        ],
        kind: ErrorKind::Unauthenticated,
        passing: false,
        reason: "the credentials cannot be loaded: correct the profile, the role or the credentials process",
    },
    Sign {
        words: &["dns error", "failed to lookup address", "Name or service not known"],
        kind: ErrorKind::Unreachable,
        passing: true,
        reason: "the store's host name cannot be resolved: correct the endpoint, the region or the network",
    },
    Sign {
        words: &["Connection refused"],
        kind: ErrorKind::Unreachable,
        passing: true,
        reason: "the connection was refused: nothing listens at this address, or a firewall is in the way",
    },
    Sign {
        words: &["HTTP connect timeout"],
        kind: ErrorKind::Unreachable,
        passing: true,
        reason: "no connection in time: correct the endpoint, or open the firewall that is in the way",
    },
    Sign {
        words: &["invalid peer certificate", "UnknownIssuer"],
        kind: ErrorKind::Unreachable,
        passing: false,
        reason: "the store's certificate is not trusted: say its authority as `s3.caFile`",
    },
    Sign {
        words: &["InvalidContentType", "received corrupt message", "HandshakeFailure", "handshake eof"],
        kind: ErrorKind::Unreachable,
        passing: false,
        reason: "TLS is not agreed: does the address speak https",
    },
];

/// What the store said, for the log: it helps the store's operator to find the request.
fn said(answer: &HttpResponse, code: Option<&str>, message: Option<&str>) -> Said {
    let request = answer.headers().get("x-amz-request-id").map(|id| format!(", request {}", shortened(id)));
    let message = message.map(|message| format!(": {}", shortened(message))).unwrap_or_default();
    let code = code.map(shortened).unwrap_or_else(|| "no code".to_owned());
    Said(format!("the store said {code} (HTTP {}{}){message}", answer.status().as_u16(), request.unwrap_or_default()))
}

/// `error` and all that caused it, each text once.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = shortened(&error.to_string());
        if !text.is_empty() && !texts.iter().any(|before| before.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

/// The beginning of `text`, safe for a terminal.
fn shortened(text: &str) -> String {
    let line: String = text.chars().take(LONGEST).collect();
    crate::types::for_terminal(line.trim()).into_owned()
}
