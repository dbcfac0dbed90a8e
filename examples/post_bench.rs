//! scratch
use drctl::sources::kubernetes::*;
use futures::StreamExt;
#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let cluster =
        Cluster::connect(&ConnectOptions { kubeconfig: Some(args[1].clone().into()), context: None }).await.unwrap();
    for at_once in [8usize, 32, 64, 96] {
        let t = std::time::Instant::now();
        let ns = args[2].clone();
        let c = &cluster;
        let ns = &ns;
        let n = 1500;
        futures::stream::iter(0..n).map(|i| async move {
            let body = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"p-{at_once}-{i}"}},"data":{{"a":"{}"}}}}"#, "x".repeat(800));
            let path = format!("/api/v1/namespaces/{ns}/configmaps");
            let call = Call { act: "post", method: http::Method::POST, path: &path, body: Some(("application/json", body.into())), accept: None, limit: 1<<20 };
            let r = c.call(&call).await.unwrap(); assert_eq!(r.code.as_u16(), 201, "{:?}", r.status());
        }).buffer_unordered(at_once).for_each(|()| async {}).await;
        println!("{at_once} in flight: {:.0}/s", n as f64 / t.elapsed().as_secs_f64());
    }
}
