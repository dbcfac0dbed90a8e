//! What an export writes, in which order, and what it leaves out.

use serde_json::json;

use super::*;
use crate::{
    sources::kubernetes::{objects::KindWord, restore::testing::MemoryContents},
    types::{Name, Silent},
};

#[derive(Debug, Default)]
struct Kept(Vec<(String, String)>);

#[async_trait]
impl ObjectSink for Kept {
    async fn put(&mut self, place: &Place, bytes: Bytes) -> io::Result<()> {
        self.0.push((place.path().display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        Ok(())
    }
}

fn contents() -> MemoryContents {
    let object = |version: &str, kind: &str, namespace: &str, name: &str| {
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {
            "name": name, "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-11-20T02:00:00Z",
            "managedFields": [{"manager": "m", "operation": "Update"}]}});
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object
    };
    let mut service = object("v1", "Service", "shop", "web");
    service["spec"] = json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}]});
    let kinds = vec![
        ("services".to_owned(), vec![service]),
        (
            "configmaps".to_owned(),
            vec![object("v1", "ConfigMap", "shop", "kube-root-ca.crt"), object("v1", "ConfigMap", "shop", "settings")],
        ),
        ("namespaces".to_owned(), vec![object("v1", "Namespace", "", "shop")]),
        (
            "customresourcedefinitions.apiextensions.k8s.io".to_owned(),
            vec![object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "widgets.example.org")],
        ),
    ];
    MemoryContents::new(&Name::new("s").unwrap(), kinds)
}

async fn exported(contents: &MemoryContents, options: ExportOptions) -> Result<(Kept, ExportedObjects), ExportError> {
    let mut kept = Kept::default();
    let done = export(contents, &options, &mut kept, &Silent, &CancellationToken::new()).await?;
    Ok((kept, done))
}

#[tokio::test]
async fn objects_come_as_a_restore_would_create_them_and_in_its_order() {
    let (kept, done) = exported(&contents(), ExportOptions::default()).await.unwrap();
    let places: Vec<&str> = kept.0.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(
        places,
        [
            "01-custom-resource-definitions/_cluster/customresourcedefinitions.apiextensions.k8s.io/widgets.example.org.yaml",
            "02-namespaces/_cluster/namespaces/shop.yaml",
            "06-configuration/shop/configmaps/settings.yaml",
            "07-services/shop/services/web.yaml",
        ]
    );
    assert_eq!(
        kept.0[3].1,
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  ports:\n    - port: 80\n"
    );
    assert_eq!((done.written, done.changed, done.left_out.values().sum::<u64>()), (4, 1, 1));
}

#[tokio::test]
async fn as_stored_each_object_is_the_bytes_that_the_server_sent() {
    let (kept, done) =
        exported(&contents(), ExportOptions { as_stored: true, ..ExportOptions::default() }).await.unwrap();
    assert_eq!(done.written, 5);
    assert!(kept.0.iter().all(|(place, bytes)| place.ends_with(".json") && bytes.ends_with("}\n")));
    assert!(kept.0.iter().any(|(_, bytes)| bytes.contains("managedFields") && bytes.contains("10.0.0.1")));
}

#[tokio::test]
async fn only_what_is_asked_for_comes() {
    let filter = ObjectFilter {
        namespaces: vec!["sh*".to_owned()],
        kinds: vec![KindWord::new("svc"), KindWord::new("namespace")],
        ..ObjectFilter::default()
    };
    let (kept, _) = exported(&contents(), ExportOptions { filter, ..ExportOptions::default() }).await.unwrap();
    assert_eq!(kept.0.len(), 1, "{kept:?}");
    let other = ObjectFilter { sources: vec![Name::new("other").unwrap()], ..ObjectFilter::default() };
    let (kept, _) = exported(&contents(), ExportOptions { filter: other, ..ExportOptions::default() }).await.unwrap();
    assert!(kept.0.is_empty());
}

#[tokio::test]
async fn an_object_that_is_there_twice_is_damage_and_one_that_is_nested_too_deeply_is_named() {
    let line = |name: &str| {
        format!("{}\n", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}}))
    };
    let mut twice = contents();
    twice.add_text("secrets", "n", [line("a"), line("b"), line("a")].concat());
    let error = exported(&twice, ExportOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("secrets n/a twice"), "{error}");

    let mut deep = contents();
    let nested = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let object = format!(
        "{{\"spec\":{nested},\"apiVersion\":\"v1\",\"kind\":\"X\",\"metadata\":{{\"name\":\"d\",\"namespace\":\"n\"}}}}\n"
    );
    deep.add_text("xs.example.org", "n", object.clone());
    let (kept, done) = exported(&deep, ExportOptions::default()).await.unwrap();
    assert_eq!((done.unreadable_count, kept.0.len()), (1, 4));
    assert!(done.unreadable[0].starts_with("xs.example.org n/d: it cannot be read"), "{:?}", done.unreadable);
    let (kept, _) = exported(&deep, ExportOptions { as_stored: true, ..ExportOptions::default() }).await.unwrap();
    assert!(kept.0.iter().any(|(_, bytes)| *bytes == object));
}
