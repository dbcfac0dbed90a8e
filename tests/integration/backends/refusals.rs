//! What drctl makes of each answer that an S3 store can give, from a server that gives just these.

use drctl::repository::backend::{ErrorKind, PutOutcome};
use futures::TryStreamExt;

use super::scripted::{self, Scripted, answer};
use super::{assert_says, key, s3_at};

async fn scripted(answers: &[String]) -> Scripted {
    let (endpoint, seen) = scripted::server(answers).await;
    Scripted { store: s3_at(&endpoint).await, seen }
}

fn refusal(status: u16, code: &str) -> String {
    let body = format!("<Error><Code>{code}</Code><Message>in the store's words</Message></Error>");
    answer(status, "x-amz-request-id: R3QU35T\r\n", &body)
}

#[tokio::test]
async fn a_put_is_create_only_and_carries_its_checksum() {
    let server = scripted(&[answer(200, "", "")]).await;
    assert_eq!(server.put().await.unwrap(), PutOutcome::Created);
    let request = server.seen.lock().unwrap().join("");
    let sha256 = "x-amz-checksum-sha256: LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=".to_lowercase();
    for line in ["put /bucket/prod/data/a", "if-none-match: *\r\n", "content-length: 1\r\n", &sha256] {
        assert!(request.contains(line), "no `{line}` in {request}");
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_put_that_met_another_is_tried_again_until_it_is_decided() {
    let conflict = refusal(409, "ConditionalRequestConflict");
    let lost = scripted(&[conflict.clone(), conflict.clone(), refusal(412, "PreconditionFailed")]).await;
    assert_eq!((lost.put().await.unwrap(), lost.requests()), (PutOutcome::Exists, 3));
    let won = scripted(&[conflict.clone(), answer(200, "", "")]).await;
    assert_eq!((won.put().await.unwrap(), won.requests()), (PutOutcome::Created, 2));
    let never = scripted(&[conflict]).await;
    assert_says(
        &never.put().await.unwrap_err(),
        ErrorKind::Other,
        "another writer was busy with the same object (tried ",
    );
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_tried_again_and_finds_its_object() {
    let lost = scripted(&[String::new(), refusal(412, "PreconditionFailed")]).await;
    assert_eq!((lost.put().await.unwrap(), lost.requests()), (PutOutcome::Exists, 2));
    let kept = scripted(&[answer(200, "", ""), refusal(412, "PreconditionFailed")]).await;
    assert_eq!((kept.put().await.unwrap(), kept.requests()), (PutOutcome::Created, 1));
}

#[tokio::test]
async fn a_store_that_fails_for_a_moment_is_tried_again() {
    let answers = [refusal(500, "InternalError"), refusal(503, "SlowDown"), String::new(), answer(200, "", "bytes")];
    let server = scripted(&answers).await;
    assert_eq!(server.store.get(&key("a"), 5).await.unwrap(), "bytes");
    assert_eq!(server.requests(), 4);
}

#[tokio::test]
async fn every_refusal_has_its_kind_and_its_next_step() {
    use ErrorKind::{ClockApart, Full, NoSuchStore, NotFound, Other, PermissionDenied, Unauthenticated, Unsupported};
    for (status, code, kind, words) in [
        (404, "NoSuchKey", NotFound, "there is no such object"),
        (404, "NoSuchBucket", NoSuchStore, "the bucket does not exist: make it"),
        (403, "AccessDenied", PermissionDenied, "the credentials do not allow it"),
        (403, "AllAccessDisabled", PermissionDenied, "the credentials do not allow it"),
        (403, "SignatureDoesNotMatch", Unauthenticated, "the secret access key is wrong"),
        (403, "InvalidAccessKeyId", Unauthenticated, "the store does not know the access key id"),
        (400, "ExpiredToken", Unauthenticated, "the credentials have expired: renew them"),
        (400, "InvalidToken", Unauthenticated, "the store does not accept the credentials"),
        (401, "Unauthorized", Unauthenticated, "the store does not accept the credentials"),
        (403, "RequestTimeTooSkewed", ClockApart, "this machine's clock differs too much"),
        (400, "AuthorizationHeaderMalformed", NoSuchStore, "the bucket is in another region"),
        (301, "PermanentRedirect", NoSuchStore, "the bucket is in another region"),
        (403, "QuotaExceeded", Full, "no space left, or a quota is used up"),
        (507, "XMinioStorageFull", Full, "no space left, or a quota is used up"),
        (501, "NotImplemented", Unsupported, "the store does not know this operation"),
        (403, "InvalidObjectState", Unsupported, "the object was moved to an archive"),
        (418, "Teapot", Other, "the store answered 418: in the store's words"),
    ] {
        scripted(&[refusal(status, code)]).await.refuses((status, code), kind, words).await;
    }
}

#[tokio::test]
async fn the_region_of_the_bucket_is_passed_on() {
    let server =
        scripted(&[answer(301, "x-amz-bucket-region: eu-west-1\r\n", "<Error><Code>PermanentRedirect</Code></Error>")])
            .await;
    assert_says(
        &server.put().await.unwrap_err(),
        ErrorKind::NoSuchStore,
        "the bucket is in the region `eu-west-1`: say it",
    );
}

#[tokio::test]
async fn words_of_a_hostile_store_cannot_move_the_cursor() {
    let body = format!("<Error><Code>Odd</Code><Message>a&#x9b;31m\u{202e}{}</Message></Error>", "long ".repeat(1000));
    let server = scripted(&[answer(400, "", &body)]).await;
    let error = server.store.get(&key("a"), 1).await.unwrap_err();
    assert!(error.reason.contains(r"a\u{9b}31m\u{202e}long"), "{error}");
    assert!(error.reason.len() < 500, "{error}");
}

#[tokio::test]
async fn a_part_that_is_not_the_part_asked_for_is_refused() {
    let whole = scripted(&[answer(200, "", "0123456789")]).await;
    let error = whole.store.get_range(&key("a"), 2..5).await.unwrap_err();
    assert_says(&error, ErrorKind::Unsupported, "the store sends whole objects when asked for a part");
    let short = scripted(&[answer(206, "Content-Range: bytes 2-3/4\r\n", "23")]).await;
    let error = short.store.get_range(&key("a"), 2..5).await.unwrap_err();
    assert_says(&error, ErrorKind::Other, "bytes 2 to 5 are not within the object");
    let other = scripted(&[answer(206, "Content-Range: bytes 3-5/10\r\n", "345")]).await;
    let error = other.store.get_range(&key("a"), 2..5).await.unwrap_err();
    assert_says(&error, ErrorKind::Unsupported, "the store sent another part than was asked for");
    // The twin.
    let right = scripted(&[answer(206, "Content-Range: bytes 2-4/10\r\n", "234")]).await;
    assert_eq!(right.store.get_range(&key("a"), 2..5).await.unwrap(), "234");
}

fn page(keys: &[&str], more: &str) -> String {
    let entry = |key: &&str| {
        format!(
            "<Contents><Key>prod/{key}</Key><Size>1</Size><LastModified>2026-11-20T02:00:00Z</LastModified></Contents>"
        )
    };
    let entries: String = keys.iter().map(entry).collect();
    answer(200, "", &format!("<ListBucketResult>{more}{entries}</ListBucketResult>"))
}

#[tokio::test]
async fn listings_that_lie_are_refused_and_do_not_go_round() {
    const MORE: &str = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";
    let order = "the store does not list in the byte order of the keys";
    let lost = "the store says that a listing goes on, but not where";
    for (what, pages, words) in [
        ("an order that is not the keys'", vec![page(&["b", "a"], "")], order),
        ("a page again and again", vec![page(&["a", "b"], MORE)], order),
        ("no place to go on", vec![page(&["a"], "<IsTruncated>true</IsTruncated>")], lost),
        ("empty pages for ever", vec![page(&[], MORE)], lost),
    ] {
        scripted(&pages).await.lies(what, words).await;
    }
    let honest = scripted(&[page(&["a", "b"], MORE), page(&["c"], "")]).await;
    assert_eq!(honest.listed().await, ["a", "b", "c"]);
    let garbage = scripted(&[answer(200, "", "<html>")]).await;
    assert_eq!(garbage.store.list("").try_collect::<Vec<_>>().await.unwrap_err().kind, ErrorKind::Unsupported);
}
