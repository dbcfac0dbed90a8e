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
