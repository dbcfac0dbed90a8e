//! What drctl makes of each answer that an Azure Blob store can give, from a server that gives just these.

use bytes::Bytes;
use drctl::repository::backend::{Azure, AzureOptions, Backend, ErrorKind, LockMode, LockOptions, PutOutcome};
use drctl::types::Secret;
use futures::TryStreamExt;
use jiff::SignedDuration;

use super::scripted::{self, Scripted, answer};
use super::{PATIENCE, assert_says, azure_at, key};

async fn scripted(answers: &[String]) -> Scripted {
    let (endpoint, seen) = scripted::server(answers).await;
    Scripted { store: azure_at(&endpoint).await, seen }
}

fn refusal(status: u16, code: &str) -> String {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>in the store's words\nRequestId:1</Message>\
         <AuthenticationErrorDetail>The MAC signature SharedKey acc:sig= is not</AuthenticationErrorDetail></Error>"
    );
    answer(status, &format!("x-ms-error-code: {code}\r\nx-ms-request-id: R3QU35T\r\n"), &body)
}

#[tokio::test]
async fn a_put_is_create_only_and_carries_its_checksum() {
    let server = scripted(&[answer(201, "", "")]).await;
    assert_eq!(server.put().await.unwrap(), PutOutcome::Created);
    let request = server.seen.lock().unwrap().join("");
    for line in [
        "put /box/prod%2fdata%2fa http",
        "if-none-match: *\r\n",
        "content-length: 1\r\n",
        "content-md5: ndtkysamgdt1yfzofvxnpg==\r\n",
        "x-ms-blob-type: blockblob\r\n",
        "authorization: sharedkey account:",
    ] {
        assert!(request.contains(line), "no `{line}` in {request}");
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_put_carries_the_lock_that_the_policy_asks_for_and_marks_carry_none() {
    let (endpoint, seen) = scripted::server(&[answer(201, "", "")]).await;
    let lock = LockOptions {
        mode: LockMode::Compliance,
        period: SignedDuration::from_hours(24),
        locked: |key| key.as_str().starts_with("data/"),
    };
    let options = AzureOptions {
        endpoint: Some(endpoint),
        account_key: Some(Secret::new("a2V5")),
        patience: PATIENCE,
        lock: Some(lock),
        ..AzureOptions::default()
    };
    let store = Azure::open("account", "box", "prod", &options).await.unwrap();
    store.put_new(&key("data/a"), Bytes::from_static(b"x")).await.unwrap();
    let request = seen.lock().unwrap().join("");
    assert!(request.contains("x-ms-immutability-policy-mode: locked\r\n"), "{request}");
    assert!(request.contains("x-ms-immutability-policy-until-date: "), "{request}");
    seen.lock().unwrap().clear();
    store.put_new(&key("sessions/a"), Bytes::from_static(b"x")).await.unwrap();
    let request = seen.lock().unwrap().join("");
    assert!(request.contains("if-none-match: *") && !request.contains("immutability"), "{request}");
}

#[tokio::test]
async fn only_that_the_object_is_there_counts_as_there() {
    for there in [refusal(409, "BlobAlreadyExists"), refusal(403, "UnauthorizedBlobOverwrite")] {
        let server = scripted(&[there]).await;
        assert_eq!((server.put().await.unwrap(), server.requests()), (PutOutcome::Exists, 1));
    }
    for (status, code, kind, words) in [
        (409, "BlobImmutableDueToPolicy", ErrorKind::Locked, "the container is immutable for a time"),
        (412, "LeaseIdMissing", ErrorKind::PermissionDenied, "another program holds a lease on the object"),
        (409, "ContainerBeingDeleted", ErrorKind::NoSuchStore, "the container is being deleted: make it again"),
        (409, "BlobImmutableDueToLegalHold", ErrorKind::Locked, "the object is under a legal hold"),
        (412, "ConditionNotMet", ErrorKind::Other, "the store answered 412: in the store's words"),
        (409, "InvalidBlobType", ErrorKind::Other, "the store answered 409: in the store's words"),
    ] {
        let server = scripted(&[refusal(status, code)]).await;
        assert_says(&server.put().await.unwrap_err(), kind, words);
    }
    // Where only an object that is there can be in the way, a look tells whether it is.
    for (status, code) in
        [(409, "BlobImmutableDueToPolicy"), (409, "BlobImmutableDueToLegalHold"), (412, "ConditionNotMet")]
    {
        let seen = answer(200, "Last-Modified: Fri, 20 Nov 2026 02:00:00 GMT\r\n", "");
        let server = scripted(&[refusal(status, code), seen]).await;
        assert_eq!((server.put().await.unwrap(), server.requests()), (PutOutcome::Exists, 2), "{code}");
    }
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_tried_again_and_finds_its_object() {
    let lost = scripted(&[String::new(), refusal(409, "BlobAlreadyExists")]).await;
    assert_eq!((lost.put().await.unwrap(), lost.requests()), (PutOutcome::Exists, 2));
    let kept = scripted(&[answer(201, "", ""), refusal(409, "BlobAlreadyExists")]).await;
    assert_eq!((kept.put().await.unwrap(), kept.requests()), (PutOutcome::Created, 1));
    let damaged = scripted(&[refusal(400, "Md5Mismatch"), answer(201, "", "")]).await;
    assert_eq!((damaged.put().await.unwrap(), damaged.requests()), (PutOutcome::Created, 2));
}

fn part(status: u16, range: &str, body: &str) -> String {
    answer(status, &format!("Content-Range: bytes {range}\r\n"), body)
}

#[tokio::test]
async fn a_store_that_fails_for_a_moment_is_tried_again() {
    let answers =
        [refusal(500, "InternalError"), refusal(503, "ServerBusy"), String::new(), part(206, "0-4/5", "bytes")];
    let server = scripted(&answers).await;
    assert_eq!(server.store.get(&key("a"), 5).await.unwrap(), "bytes");
    assert_eq!(server.requests(), 4);
}

#[tokio::test]
async fn every_refusal_has_its_kind_and_its_next_step() {
    use ErrorKind::{Full, NoSuchStore, NotFound, Other, PermissionDenied, Unauthenticated, Unreachable, Unsupported};
    for (status, code, kind, words) in [
        (404, "BlobNotFound", NotFound, "there is no such object"),
        (404, "ContainerNotFound", NoSuchStore, "the container does not exist: make it"),
        (404, "ResourceNotFound", NoSuchStore, "the store does not know the place"),
        (403, "AuthorizationPermissionMismatch", PermissionDenied, "the credentials do not allow it"),
        (403, "SomethingNew", PermissionDenied, "the credentials do not allow it"),
        (403, "AuthorizationFailure", PermissionDenied, "look at the account's firewall"),
        (403, "AuthenticationFailed", Unauthenticated, "the account key is not that of this account"),
        (401, "NoAuthenticationInformation", Unauthenticated, "takes no requests without credentials"),
        (403, "KeyBasedAuthenticationNotPermitted", Unauthenticated, "takes no keys, and no SAS that a key has signed"),
        (403, "AccountIsDisabled", NoSuchStore, "the storage account is disabled: renew"),
        (400, "OutOfRangeInput", NoSuchStore, "the store does not know the place: correct the account"),
        (409, "ResourceTypeMismatch", Unsupported, "the account has a hierarchical namespace"),
        (407, "Odd", Unreachable, "the proxy wants credentials: say them in its variable"),
        (507, "Odd", Full, "no space left, or a quota is used up"),
        (400, "UnsupportedHeader", Unsupported, "does not know this operation, or this version"),
        (409, "BlobArchived", Unsupported, "the object was moved to the archive tier"),
        (418, "Teapot", Other, "the store answered 418: in the store's words"),
    ] {
        scripted(&[refusal(status, code)]).await.refuses((status, code), kind, words).await;
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_from_a_key_that_is() {
    let with_date = |date: &str| {
        let refusal = refusal(403, "AuthenticationFailed");
        refusal.replacen("\r\n", &format!("\r\nDate: {date}\r\n"), 1)
    };
    let now = jiff::Timestamp::now();
    let date = |minutes: i64| {
        let time = now + jiff::SignedDuration::from_mins(minutes);
        time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    };
    for (minutes, words) in [
        (-20, "min ahead of the store's: set it right"),
        (20, "min behind the store's: set it right"),
        (60 * 24, "this machine's clock is 23 h behind the store's"),
        (0, "the account key is not that of this account"),
    ] {
        let server = scripted(&[with_date(&date(minutes))]).await;
        let error = server.store.get(&key("data/a"), 10).await.unwrap_err();
        let kind = if minutes == 0 { ErrorKind::Unauthenticated } else { ErrorKind::ClockApart };
        assert_says(&error, kind, words);
    }
}

#[tokio::test]
async fn a_part_that_is_not_the_part_asked_for_is_refused() {
    for (given, kind, words) in [
        (answer(200, "", "0123456789"), ErrorKind::Unsupported, "the store sends whole objects when asked for a part"),
        (part(206, "2-3/4", "23"), ErrorKind::Other, "bytes 2 to 5 are not within the object, which has 4 bytes"),
        (part(206, "3-5/10", "345"), ErrorKind::Unsupported, "the store sent another part than was asked for"),
        (refusal(416, "InvalidRange"), ErrorKind::Other, "the bytes asked for are not within the object"),
    ] {
        let server = scripted(&[given]).await;
        assert_says(&server.store.get_range(&key("a"), 2..5).await.unwrap_err(), kind, words);
    }
    // The twin.
    let right = scripted(&[part(206, "2-4/10", "234")]).await;
    assert_eq!(right.store.get_range(&key("a"), 2..5).await.unwrap(), "234");
}

#[tokio::test]
async fn a_whole_object_is_taken_only_if_it_is_whole_and_within_the_limit() {
    let whole = scripted(&[part(206, "0-4/5", "bytes")]).await;
    assert_eq!(whole.store.get(&key("a"), 5).await.unwrap(), "bytes");
    assert!(whole.seen.lock().unwrap()[0].contains("range: bytes=0-5\r\n"), "{:?}", whole.seen);
    let unasked = scripted(&[answer(200, "", "bytes")]).await;
    assert_eq!(unasked.store.get(&key("a"), 5).await.unwrap(), "bytes");
    for (given, kind, words) in [
        (part(206, "0-5/90", "bytes!"), ErrorKind::TooLarge, "it has 90 bytes, and at most 5 are taken here"),
        (answer(200, "", "bytes!"), ErrorKind::TooLarge, "it has 6 bytes, and at most 5 are taken here"),
        (part(206, "0-2/5", "byt"), ErrorKind::Unsupported, "the store sent another part"),
        (part(206, "1-4/5", "ytes"), ErrorKind::Unsupported, "the store sent another part"),
    ] {
        let server = scripted(&[given]).await;
        assert_says(&server.store.get(&key("a"), 5).await.unwrap_err(), kind, words);
    }
}

fn page(keys: &[&str], more: &str) -> String {
    let entry = |key: &&str| {
        format!(
            "<Blob><Name>prod/{key}</Name><Properties><Content-Length>1</Content-Length>\
             <Last-Modified>Fri, 20 Nov 2026 02:00:00 GMT</Last-Modified></Properties></Blob>"
        )
    };
    let entries: String = keys.iter().map(entry).collect();
    answer(
        200,
        "",
        &format!("<EnumerationResults><Blobs>{entries}</Blobs><NextMarker>{more}</NextMarker></EnumerationResults>"),
    )
}

#[tokio::test]
async fn listings_that_lie_are_refused_and_do_not_go_round() {
    let order = "the store does not list in the order of the keys";
    let lost = "the store says that a listing goes on, but not where";
    for (what, pages, words) in [
        ("an order that is not the keys'", vec![page(&["b", "a"], "")], order),
        ("a page again and again", vec![page(&["a", "b"], "m")], order),
        ("empty pages for ever", vec![page(&[], "m")], lost),
    ] {
        scripted(&pages).await.lies(what, words).await;
    }
    let honest = scripted(&[page(&["a", "b"], "m"), page(&[], "n"), page(&["c"], "")]).await;
    assert_eq!(honest.listed().await, ["a", "b", "c"]);
    let garbage = scripted(&[answer(200, "", "<html>")]).await;
    assert_eq!(garbage.store.list("").try_collect::<Vec<_>>().await.unwrap_err().kind, ErrorKind::Unsupported);
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_held() {
    let endless = format!("HTTP/1.1 200 X\r\nConnection: close\r\n\r\n<EnumerationResults>{}", " ".repeat(40 << 20));
    let server = scripted(&[endless]).await;
    let error = server.store.list("").try_next().await.unwrap_err();
    assert_says(&error, ErrorKind::Unsupported, "the answer is not that of an Azure Blob store");
}
