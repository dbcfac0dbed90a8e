//! What makes a request one of ours: the signature of an account key, or the parameters of a SAS.
//!
//! The SDK knows neither. Both are policies of its pipeline that run last, after all that the SDK
//! itself puts into a request.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use azure_core::http::{
    Context, Method, Request,
    headers::{HeaderName, Headers},
    policies::{Policy, PolicyResult},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use url::Url;

/// The MD5 of a request's body, in the context of the call that sends it.
#[derive(Debug, Clone)]
pub(in super::super) struct BodyMd5(pub(in super::super) String);

/// Puts the MD5 of the body into the request, by which the store checks what it received. The SDK's own
/// upload does not, though the store has a header for it.
#[derive(Debug)]
pub(super) struct CheckedBody;

#[async_trait]
impl Policy for CheckedBody {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if let Some(BodyMd5(md5)) = context.value::<BodyMd5>() {
            request.insert_header("content-md5", md5.clone());
        }
        go_on(context, request, next).await
    }
}

/// Signs requests with an account's key ("Shared Key").
pub(super) struct SharedKey {
    account: String,
    key: Box<hmac::Key>,
}

impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedKey").field("account", &self.account).finish_non_exhaustive()
    }
}

impl SharedKey {
    /// The account's key as the portal shows it, in Base64. `None` if it is none.
    pub(super) fn new(account: &str, key: &str) -> Option<Self> {
        let key = BASE64_STANDARD.decode(key.trim()).ok().filter(|key| !key.is_empty())?;
        Some(Self { account: account.to_owned(), key: Box::new(hmac::Key::new(hmac::HMAC_SHA256, &key)) })
    }

    fn sign(&self, request: &mut Request, now: Timestamp) {
        request.insert_header("x-ms-date", http_date(now));
        let text = signed_text(&self.account, request.method(), request.url(), request.headers());
        let signature = BASE64_STANDARD.encode(hmac::sign(&self.key, text.as_bytes()));
        request.insert_header("authorization", format!("SharedKey {}:{signature}", self.account));
    }
}

#[async_trait]
impl Policy for SharedKey {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        self.sign(request, Timestamp::now());
        go_on(context, request, next).await
    }
}

/// Adds the parameters of a shared access signature to each request.
pub(super) struct Sas {
    parameters: Vec<(String, String)>,
}

impl std::fmt::Debug for Sas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sas(…)")
    }
}

impl Sas {
    /// A SAS as the portal and `az` show it, with or without the `?`. `None` if it has no signature.
    pub(super) fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('?').unwrap_or(text);
        let parameters: Vec<(String, String)> = url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
        let signed = parameters.iter().any(|(name, value)| name == "sig" && !value.is_empty());
        signed.then_some(Self { parameters })
    }

    /// From when and until when it is good, as far as it says so itself. One that a stored access policy
    /// governs does not.
    pub(super) fn times(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let time = |name: &str| {
            let (_, text) = self.parameters.iter().find(|(other, _)| other == name)?;
            // Seconds may be left out, and the hours too.
            let whole = [text.clone(), text.replace('Z', ":00Z"), format!("{text}T00:00:00Z")];
            whole.iter().find_map(|text| text.parse().ok())
        };
        // One that an identity of Entra has signed is good no longer than the key that it was given for that.
        let until = [time("se"), time("ske")].into_iter().flatten().min();
        let from = [time("st"), time("skt")].into_iter().flatten().max();
        (from, until)
    }

    /// It is for one object, a version or a snapshot of one, and not for a container.
    pub(super) fn is_of_one_object(&self) -> bool {
        self.parameters.iter().any(|(name, value)| name == "sr" && matches!(value.as_str(), "b" | "bs" | "bv"))
    }
}

#[async_trait]
impl Policy for Sas {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        request.url_mut().query_pairs_mut().extend_pairs(&self.parameters);
        go_on(context, request, next).await
    }
}

async fn go_on(context: &Context<'_>, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
    let Some((policy, rest)) = next.split_first() else {
        let reason = "the request has nowhere to go";
        return Err(azure_core::Error::with_message(azure_core::error::ErrorKind::Other, reason));
    };
    policy.send(context, request, rest).await
}

/// `Fri, 20 Nov 2026 02:00:00 GMT`
fn http_date(now: Timestamp) -> String {
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The headers that have a line of their own in the text that is signed.
const LINES: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// The text whose signature proves who asks for just this request.
fn signed_text(account: &str, method: Method, url: &Url, headers: &Headers) -> String {
    let value = |name: &'static str| headers.get_optional_str(&HeaderName::from_static(name)).unwrap_or_default();
    let mut text = format!("{}\n", method.as_ref());
    for name in LINES {
        let value = value(name);
        // No body and a body of no bytes are the same here.
        text.push_str(if name == "content-length" && value == "0" { "" } else { value });
        text.push('\n');
    }
    let mut own: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    own.retain(|(name, _)| name.starts_with("x-ms-"));
    own.sort_unstable();
    for (name, value) in own {
        text.push_str(&format!("{name}:{}\n", value.trim()));
    }
    text.push_str(&format!("/{account}{}", url.path()));
    let mut query: Vec<(String, String)> =
        url.query_pairs().map(|(name, value)| (name.to_lowercase(), value.into_owned())).collect();
    query.sort_unstable();
    for (name, value) in query {
        text.push_str(&format!("\n{name}:{value}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, url: &str, headers: &[(&'static str, &'static str)]) -> Request {
        let mut request = Request::new(url.parse().unwrap(), method);
        for (name, value) in headers {
            request.insert_header(*name, *value);
        }
        request
    }

    #[test]
    fn the_signed_text_is_that_of_the_documentation() {
        let get = request(
            Method::Get,
            "https://myaccount.blob.core.windows.net/mycontainer?restype=container&timeout=20&comp=metadata",
            &[("x-ms-version", "2014-02-14"), ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"), ("accept", "xml")],
        );
        assert_eq!(
            signed_text("myaccount", get.method(), get.url(), get.headers()),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2014-02-14\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
        let put = request(
            Method::Put,
            "http://127.0.0.1:10000/acc/box/a%2Fb%20c",
            &[
                ("content-length", "0"),
                ("content-md5", "abc="),
                ("if-none-match", "*"),
                ("x-ms-blob-type", "BlockBlob"),
            ],
        );
        assert_eq!(
            signed_text("acc", put.method(), put.url(), put.headers()),
            "PUT\n\n\n\nabc=\n\n\n\n\n*\n\n\nx-ms-blob-type:BlockBlob\n/acc/acc/box/a%2Fb%20c"
        );
    }

    #[test]
    fn a_request_is_signed_with_the_key_and_the_time() {
        let key = SharedKey::new("acc", "a2V5\n").unwrap();
        let mut get = request(Method::Get, "https://acc.blob.core.windows.net/box/a", &[]);
        key.sign(&mut get, "2026-11-20T02:00:00Z".parse().unwrap());
        let header = |name: &'static str| get.headers().get_optional_str(&HeaderName::from_static(name)).unwrap();
        assert_eq!(header("x-ms-date"), "Fri, 20 Nov 2026 02:00:00 GMT");
        // As `openssl dgst -sha256 -hmac key -binary | base64` says of the text.
        assert_eq!(header("authorization"), "SharedKey acc:5Q5zs36XePHAKAmd0vrx1QtoE4tT8kdJzOsk5AKypBQ=");
        assert!(SharedKey::new("acc", "not base64!").is_none() && SharedKey::new("acc", "").is_none());
    }

    #[test]
    fn a_sas_says_its_times_and_nothing_else() {
        let sas = Sas::new("?sv=2026-04-06&st=2026-11-01&se=2026-11-20T02:00Z&sr=c&sp=rcl&sig=hunter2%3D").unwrap();
        let time = |text: &str| text.parse::<Timestamp>().ok();
        assert_eq!(sas.times(), (time("2026-11-01T00:00:00Z"), time("2026-11-20T02:00:00Z")));
        assert!(!format!("{sas:?}").contains("hunter2") && !sas.is_of_one_object());
        let delegated = "skt=2026-11-02T00:00:00Z&ske=2026-11-09T00:00:00Z&st=2026-11-01&se=2026-11-20&sr=b&sig=x";
        let delegated = Sas::new(delegated).unwrap();
        assert_eq!(delegated.times(), (time("2026-11-02T00:00:00Z"), time("2026-11-09T00:00:00Z")));
        assert!(delegated.is_of_one_object());
        assert_eq!(Sas::new("sv=1&si=stored&sig=x").unwrap().times(), (None, None));
        assert!(Sas::new("sv=2026-04-06&se=2026-11-20").is_none() && Sas::new("").is_none());
    }
}
