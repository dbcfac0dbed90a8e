//! What an answer of the store, or the lack of one, means.

use std::error::Error as StdError;

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use super::super::{
    ErrorKind,
    failure::Failure,
    proxy,
    said::{Said, chain, shortened},
};

/// Why a put that raced another is tried again.
pub(super) const BUSY_OBJECT: &str = "another writer was busy with the same object";
/// What a bucket lacks that must lock.
pub(super) const NO_LOCK: &str = "the bucket has no object lock: turn it on for the bucket (with its versions), or take \
                                  `objectLock` out of the policy";
const LOCKED: &str = "the object is locked against deletion until its time";
const NOT_S3: &str = "the answer is not that of an S3 store: correct the endpoint";

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
        _ => Failure::new(ErrorKind::Unsupported, NOT_S3).because(Said(chain(error))).passing(),
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
    let status = answer.status().as_u16();
    let known = REFUSALS.iter().find(|known| code.is_some_and(|code| known.codes.contains(&code)));
    let known = known.or_else(|| REFUSALS.iter().find(|known| known.statuses.contains(&status)));
    let failure = match known {
        _ if let Some(failure) = of_locks(code, message) => failure,
        Some(known) if known.codes.contains(&"PermanentRedirect") => elsewhere(answer),
        Some(known) => Failure { passing: known.passing, ..Failure::new(known.kind, known.reason) }
            .asked_to_wait(answer.headers().get("retry-after")),
        None if status == 429 || status >= 500 => return busy(answer, code, message),
        None if code.is_none_or(str::is_empty) => Failure::new(ErrorKind::Unsupported, NOT_S3),
        None => {
            let words = message.or(code).map(shortened).unwrap_or_default();
            Failure::new(ErrorKind::Other, format!("the store answered {status}: {words}"))
        }
    };
    if failure.kind == ErrorKind::NotFound { failure } else { failure.because(said(answer, code, message)) }
}

/// What has to do with object lock has no codes of its own: the words tell.
fn of_locks(code: Option<&str>, message: Option<&str>) -> Option<Failure> {
    let says = |words: &[&str]| message.is_some_and(|message| words.iter().any(|words| message.contains(words)));
    match code? {
        "ObjectLockConfigurationNotFoundError" => Some(Failure::new(ErrorKind::Unsupported, NO_LOCK)),
        "InvalidRequest" if says(&["missing Object Lock Configuration", "missing ObjectLockConfiguration"]) => {
            Some(Failure::new(ErrorKind::Unsupported, NO_LOCK))
        }
        // The second is MinIO's.
        "AccessDenied" | "InvalidRequest" | "ObjectLocked"
            if says(&["object lock", "Object Lock", "WORM protected"]) =>
        {
            Some(Failure::new(ErrorKind::Locked, LOCKED))
        }
        _ => None,
    }
}

/// A refusal, known by its code, or else by its status.
struct Refusal {
    codes: &'static [&'static str],
    statuses: &'static [u16],
    kind: ErrorKind,
    passing: bool,
    reason: &'static str,
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        codes: &["NoSuchKey", "NotFound"],
        statuses: &[],
        kind: ErrorKind::NotFound,
        passing: false,
        reason: "there is no such object",
    },
    Refusal {
        codes: &["NoSuchBucket"],
        statuses: &[],
        kind: ErrorKind::NoSuchStore,
        passing: false,
        reason: "the bucket does not exist: make it, or correct its name, region or endpoint",
    },
    Refusal {
        codes: &["SignatureDoesNotMatch"],
        statuses: &[],
        kind: ErrorKind::Unauthenticated,
        passing: false,
        reason: "the secret access key is wrong for this access key id: correct the credentials",
    },
    Refusal {
        codes: &["InvalidAccessKeyId"],
        statuses: &[],
        kind: ErrorKind::Unauthenticated,
        passing: false,
        reason: "the store does not know the access key id: correct the credentials",
    },
    Refusal {
        codes: &["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"],
        statuses: &[],
        kind: ErrorKind::Unauthenticated,
        passing: false,
        reason: "the credentials have expired: renew them",
    },
    Refusal {
        codes: &["InvalidToken", "InvalidSecurity", "CredentialsNotSupported", "InvalidClientTokenId"],
        statuses: &[401],
        kind: ErrorKind::Unauthenticated,
        passing: false,
        reason: "the store does not accept the credentials: correct them",
    },
    Refusal {
        codes: &["RequestTimeTooSkewed"],
        statuses: &[],
        kind: ErrorKind::ClockApart,
        passing: false,
        reason: "this machine's clock differs too much from the store's: set it right",
    },
    Refusal {
        codes: &["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"],
        statuses: &[301],
        kind: ErrorKind::NoSuchStore,
        passing: false,
        // `elsewhere` says the region, where the store does.
        reason: "",
    },
    Refusal {
        codes: &[],
        statuses: &[407],
        kind: ErrorKind::Unreachable,
        passing: false,
        reason: proxy::WANTS_CREDENTIALS,
    },
    Refusal {
        codes: &["QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity"],
        statuses: &[507],
        kind: ErrorKind::Full,
        passing: false,
        reason: "the store has no space left, or a quota is used up",
    },
    Refusal {
        codes: &["InvalidRange"],
        statuses: &[416],
        kind: ErrorKind::Other,
        passing: false,
        reason: "the bytes asked for are not within the object",
    },
    Refusal {
        codes: &["NotImplemented", "MethodNotAllowed"],
        statuses: &[405, 501],
        kind: ErrorKind::Unsupported,
        passing: false,
        reason: "the store does not know this operation, which drctl needs",
    },
    Refusal {
        codes: &["EntityTooLarge"],
        statuses: &[413],
        kind: ErrorKind::Unsupported,
        passing: false,
        reason: "the store does not take objects of this size",
    },
    Refusal {
        codes: &["InvalidObjectState"],
        statuses: &[],
        kind: ErrorKind::Unsupported,
        passing: false,
        reason: "the object was moved to an archive: restore it to the store's normal class first",
    },
    Refusal {
        codes: &["BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody"],
        statuses: &[],
        kind: ErrorKind::Other,
        passing: true,
        reason: "the store received other bytes than were sent",
    },
    Refusal {
        codes: &["ConditionalRequestConflict", "OperationAborted"],
        statuses: &[],
        kind: ErrorKind::Other,
        passing: true,
        reason: BUSY_OBJECT,
    },
    Refusal {
        codes: &["RequestTimeout", "RequestTimeoutException"],
        statuses: &[408],
        kind: ErrorKind::TimedOut,
        passing: true,
        reason: "the store did not get the request in time",
    },
    Refusal {
        codes: &["SlowDown", "Throttling", "ThrottlingException", "TooManyRequests"],
        statuses: &[],
        kind: ErrorKind::Other,
        passing: true,
        reason: "the store is overloaded or asks to slow down",
    },
    Refusal {
        codes: &["AccessDenied"],
        statuses: &[403],
        kind: ErrorKind::PermissionDenied,
        passing: false,
        reason: "the credentials do not allow it (without leave to list the bucket, a missing object looks like this too)",
    },
];

fn busy(answer: &HttpResponse, code: Option<&str>, message: Option<&str>) -> Failure {
    let status = answer.status().as_u16();
    let reason = match status {
        429 | 503 => format!("the store is overloaded or asks to slow down (HTTP {status})"),
        _ => format!("the store failed (HTTP {status})"),
    };
    let failure = Failure::new(ErrorKind::Other, reason).because(said(answer, code, message)).passing();
    failure.asked_to_wait(answer.headers().get("retry-after"))
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
        _ if text.contains("tunnel error: ") => proxy::failure_in(&text).unwrap_or_else(unreachable),
        Some(sign) => Failure { passing: sign.passing, ..Failure::new(sign.kind, sign.reason) },
        None if matches!(error, SdkError::DispatchFailure(broken) if broken.is_timeout()) => {
            Failure::new(ErrorKind::TimedOut, "no answer in time").passing()
        }
        None if dispatched => unreachable(),
        None => Failure::new(ErrorKind::Other, "the request cannot be made"),
    };
    failure.because(Said(text))
}

fn unreachable() -> Failure {
    Failure::new(ErrorKind::Unreachable, "the connection failed or broke off").passing()
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
        // The machine's role (IMDS) is the last that is asked: if that fails, nothing else was said.
        words: &["no providers in chain provided credentials", "the credential provider was not enabled", "IMDS"],
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
