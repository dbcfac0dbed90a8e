//! scratch
use drctl::sources::kubernetes::*;
use drctl::sources::testing::MemorySink;
use drctl::sources::*;
use drctl::types::*;
use std::time::Instant;
#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let cluster =
        Cluster::connect(&ConnectOptions { kubeconfig: Some(args[1].clone().into()), context: None }).await.unwrap();
    let ns = args[2].clone();
    let n: usize = args.get(4).and_then(|s| s.parse().ok()).unwrap_or(3);
    for _ in 0..n {
        if args[3] == "capture" {
            let t = Instant::now();
            let sink = MemorySink::counting();
            let source = KubernetesSource::new(
                Name::new("x").unwrap(),
                cluster.clone(),
                KubernetesSelection { namespaces: vec![ns.clone()], ..Default::default() },
            );
            let r = source
                .capture(CaptureContext {
                    sink: &sink,
                    monitor: &Silent,
                    cancel: &tokio_util::sync::CancellationToken::new(),
                })
                .await
                .unwrap();
            let count: u64 = r.groups.iter().map(|g| g.count).sum();
            let bytes: u64 = r.groups.iter().map(|g| g.bytes).sum();
            println!("capture {count} objects {bytes} bytes in {:?}", t.elapsed());
        } else if args[3] == "lists" {
            let t = Instant::now();
            let d = Discovery::read(&cluster).await.unwrap();
            println!("discovery {:?}", t.elapsed());
            let t = Instant::now();
            let mut total = 0;
            for k in d.kinds() {
                if !k.namespaced || !k.can("list") || !k.can("create") || kinds::left_out(&k.id()).is_some() {
                    continue;
                }
                let mut token = String::new();
                loop {
                    let p = format!("{}?limit=500&continue={}", k.list_path(Some(&ns)), segment(&token));
                    let b = cluster.get("x", &p, 1 << 30).await.unwrap();
                    total += b.len();
                    let v: serde_json::Value = serde_json::from_slice(&b).unwrap();
                    token = v["metadata"]["continue"].as_str().unwrap_or("").to_owned();
                    if token.is_empty() {
                        break;
                    }
                }
            }
            println!("sequential limit=500 lists {total} bytes {:?}", t.elapsed());
        }
    }
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", s.lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
