//! What a plain client does with the driver that drctl uses: for `benches/mongodb`, to compare with.
//!
//! `drain` reads every collection by the same cursors and throws the documents away; `insert` sends them again in the same
//! batches, by raw inserts, one batch after the other. Both print what they did as JSON. `BENCH_URL` names the server.

use std::{collections::BTreeMap, env, error::Error, time::Instant};

use futures::StreamExt as _;
use mongodb_driver::{
    Client, Database,
    bson::{
        RawDocumentBuf, doc,
        raw::{RawArrayBuf, RawBsonRef},
        rawdoc,
    },
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// As a restore's: bytes and documents of a batch.
const BATCH: usize = 2 << 20;
const MOST: usize = 10_000;

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let client = Client::with_uri_str(env::var("BENCH_URL")?).await?;
    let told = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["drain", database] => drain(&client.database(database)).await?,
        ["insert", from, to] => insert(&client.database(from), &client.database(to)).await?,
        _ => return Err("usage: plain_mongodb drain DATABASE | insert FROM TO".into()),
    };
    print(&serde_json::to_string(&told)?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn print(text: &str) {
    println!("{text}");
}

async fn drain(database: &Database) -> Result<BTreeMap<&'static str, f64>> {
    let began = Instant::now();
    let (mut documents, mut bytes) = (0_u64, 0_u64);
    for name in database.list_collection_names().await? {
        let mut batches = database.collection::<RawDocumentBuf>(&name).find(doc! {}).batch().await?;
        while let Some(batch) = batches.next().await {
            for item in batch?.doc_slices()? {
                if let RawBsonRef::Document(document) = item? {
                    documents += 1;
                    bytes += document.as_bytes().len() as u64;
                }
            }
        }
    }
    Ok(told(began.elapsed().as_secs_f64(), documents, bytes))
}

/// The time of reading is not counted.
async fn insert(from: &Database, to: &Database) -> Result<BTreeMap<&'static str, f64>> {
    let (mut seconds, mut documents, mut bytes) = (0.0, 0_u64, 0_u64);
    for name in from.list_collection_names().await? {
        let mut batches = from.collection::<RawDocumentBuf>(&name).find(doc! {}).batch().await?;
        let (mut held, mut size, mut count) = (RawArrayBuf::new(), 0, 0);
        while let Some(batch) = batches.next().await {
            for item in batch?.doc_slices()? {
                let RawBsonRef::Document(document) = item? else { continue };
                held.push(document);
                size += document.as_bytes().len();
                count += 1;
                if size >= BATCH || count >= MOST {
                    seconds += send(to, &name, std::mem::take(&mut held)).await?;
                    (documents, bytes) = (documents + count as u64, bytes + size as u64);
                    (size, count) = (0, 0);
                }
            }
        }
        if count > 0 {
            seconds += send(to, &name, held).await?;
            (documents, bytes) = (documents + count as u64, bytes + size as u64);
        }
    }
    Ok(told(seconds, documents, bytes))
}

async fn send(to: &Database, collection: &str, documents: RawArrayBuf) -> Result<f64> {
    let mut command = rawdoc! {"insert": collection, "ordered": false, "bypassDocumentValidation": true};
    command.append(mongodb_driver::bson::raw::cstr!("documents"), documents);
    let began = Instant::now();
    let answer = to.run_raw_command(command).await?;
    if answer.contains_key("writeErrors") {
        return Err(format!("the server refuses documents of {collection}: {answer}").into());
    }
    Ok(began.elapsed().as_secs_f64())
}

fn told(seconds: f64, documents: u64, bytes: u64) -> BTreeMap<&'static str, f64> {
    BTreeMap::from([("seconds", seconds), ("documents", documents as f64), ("bytes", bytes as f64)])
}
