use super::*;

/// A cluster that nothing is sent to.
pub(super) async fn nowhere() -> Cluster {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: k, cluster: {server: 'http://127.0.0.1:1'}}]\n\
                contexts: [{name: c, context: {cluster: k}}]\n";
    std::fs::write(&path, text).unwrap();
    let options = super::super::ConnectOptions { kubeconfig: Some(path), context: None };
    Cluster::connect(&options).await.unwrap()
}

/// An API server that answers every request with 410, and counts them.
async fn expiring() -> (Cluster, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: k, cluster: {{server: 'http://{}'}}}}]\n\
         contexts: [{{name: c, context: {{cluster: k}}}}]\n",
        listener.local_addr().unwrap()
    );
    std::fs::write(&path, text).unwrap();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut buffer = [0; 1024];
                match stream.read(&mut buffer).await {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let answer = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    let options = super::super::ConnectOptions { kubeconfig: Some(path), context: None };
    (Cluster::connect(&options).await.unwrap(), count)
}

#[tokio::test]
async fn a_list_of_namespaces_that_expires_again_and_again_is_given_up() {
    let (cluster, requests) = expiring().await;
    let source = KubernetesSource::new("all".parse().unwrap(), cluster, KubernetesSelection::default());
    let room = Room::new();
    let found = tokio::time::timeout(std::time::Duration::from_secs(60), source.existing_namespaces(&room)).await;
    assert_eq!(found.unwrap().unwrap_err().kind, ErrorKind::Expired);
    assert_eq!(requests.load(std::sync::atomic::Ordering::Relaxed), RESTARTS + 1);
}
