//! Tests with a backup in memory, made of archives of pg_dump.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::json;

use super::*;
use crate::{
    sources::postgres::{
        archive::{Event, Splitter},
        contents::{Document as _, LARGE_OBJECTS, POST_DATA, PRE_DATA, SEQUENCES, TOC, WHOLE},
        rows::{PartCuts, RowTotals},
    },
    types::{Blake3Digest, ContentsError, MediaType, PartInfo, PartStream, Silent},
};

#[derive(Debug, Default)]
struct Memory {
    streams: Vec<StreamInfo>,
    bytes: Vec<Vec<Bytes>>,
    /// From this part of this stream on, reading finds damage after the first piece.
    damaged: Option<(String, usize)>,
}

impl Memory {
    fn add(&mut self, name: &str, media_type: MediaType, parts: Vec<(String, Bytes, u64)>) {
        let (mut infos, mut bytes, mut offset) = (Vec::new(), Vec::new(), 0);
        for (name, part, count) in parts {
            let length = part.len() as u64;
            infos.push(PartInfo { name, offset, length, blake3: Blake3Digest::of(&part), count, digest: None });
            offset += length;
            bytes.push(part);
        }
        let number = u32::try_from(self.streams.len()).unwrap();
        self.streams.push(StreamInfo { number, source: source(), name: name.to_owned(), media_type, parts: infos });
        self.bytes.push(bytes);
    }

    fn stream(&mut self, name: &str) -> &mut Vec<Bytes> {
        let number = self.streams.iter().position(|stream| stream.name == name).unwrap();
        &mut self.bytes[number]
    }
}

#[async_trait]
impl BackupContents for Memory {
    fn streams(&self) -> &[StreamInfo] {
        &self.streams
    }

    async fn read_part(&self, stream: &StreamInfo, part: usize) -> Result<PartStream, ContentsError> {
        let bytes = self.bytes[stream.number as usize][part].clone();
        let mut pieces: Vec<_> = bytes.chunks(777).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        if self.damaged.as_ref().is_some_and(|(name, number)| *name == stream.name && *number == part) {
            let (stream, part) = (stream.name.clone(), part.to_string());
            pieces.truncate(1);
            pieces.push(Err(ContentsError {
                stream,
                part,
                damaged: true,
                source: "a chunk is not what it was".into(),
            }));
        }
        Ok(stream::iter(pieces).boxed())
    }
}

fn source() -> Name {
    Name::new("orders-db").unwrap()
}

fn archive(name: &str) -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/archives");
    std::fs::read(folder.join(name)).unwrap().into()
}

/// What a capture would store of an archive, with parts of 10 kB.
fn backup_of(archive: &Bytes) -> Memory {
    let (mut memory, mut splitter) = (Memory::default(), Splitter::new());
    splitter.push(archive.clone());
    let (mut toc, mut rows) = (None, Vec::new());
    let mut objects: Vec<(String, Bytes, u64)> = Vec::new();
    let (mut tables, mut blocks, mut open) = (Vec::new(), Vec::new(), 0);
    while let Some(event) = splitter.next_event().unwrap() {
        match event {
            Event::Toc(found) => {
                memory.add(TOC, MediaType::Blob, vec![(WHOLE.to_owned(), found.bytes().clone(), 0)]);
                toc = Some(found);
            }
            Event::Table { dump_id } | Event::LargeObjects { dump_id } => open = dump_id,
            Event::Rows(bytes) => rows.extend_from_slice(&bytes),
            Event::TableEnd => {
                let toc = toc.as_ref().unwrap();
                let entry = toc.entry(open).unwrap();
                let name = contents::table_stream(&entry.namespace(), &entry.tag());
                let (mut rest, mut cuts, mut parts) =
                    (Bytes::from(std::mem::take(&mut rows)), PartCuts::of_size(10_000), vec![]);
                while !rest.is_empty() || parts.is_empty() {
                    let (part, _) = cuts.take(&mut rest);
                    let count = RowTotals::of(&part).rows;
                    parts.push((parts.len().to_string(), part, count));
                }
                memory.add(&name, MediaType::Table, parts);
                let copy = entry.copy_line().unwrap();
                tables.push(contents::Table {
                    dump_id: open,
                    schema: entry.namespace().into_owned(),
                    name: entry.tag().into_owned(),
                    stream: name,
                    copy: entry.copy_statement().unwrap().into_owned(),
                    root: entry.root(),
                    columns: copy.columns,
                });
            }
            Event::LargeObject { oid } => objects.push((oid.to_string(), Bytes::new(), 1)),
            Event::Contents(bytes) => {
                let object = &mut objects.last_mut().unwrap().1;
                *object = [object.as_ref(), bytes.as_ref()].concat().into();
            }
            Event::LargeObjectEnd => {}
            Event::LargeObjectsEnd => {
                let stream = contents::large_objects_stream(open);
                blocks.push(contents::LargeObjects {
                    dump_id: open,
                    stream: stream.clone(),
                    count: objects.len() as u64,
                });
                memory.add(&stream, MediaType::Blob, std::mem::take(&mut objects));
            }
        }
    }
    let split = splitter.finish().unwrap();
    let database: Database = serde_json::from_value(json!({
        "apiVersion": "drctl/v1", "kind": "PostgresDatabase", "name": "odd\n\\! touch evil", "owner": "postgres",
        "encoding": "UTF8", "locale": {"provider": "libc", "collate": "C", "ctype": "C"},
        "server": {"version": "15.18", "number": 150_018},
        "archive": {"version": "1.14", "pgDump": "15.18", "framing": split.framing, "bytes": split.bytes},
        "snapshot": {"time": "2026-11-21T12:00:00Z"}, "tables": tables, "largeObjects": blocks,
    }))
    .unwrap();
    let database = Bytes::from(database.to_bytes().unwrap());
    memory.add(contents::DATABASE, MediaType::Text, vec![(WHOLE.to_owned(), database, 0)]);
    for name in [PRE_DATA, POST_DATA, SEQUENCES, LARGE_OBJECTS] {
        memory.add(name, MediaType::Text, vec![(WHOLE.to_owned(), format!("-- {name}\n").into(), 0)]);
    }
    memory
}

async fn export(memory: &Memory, format: Format) -> Result<(Vec<u8>, Exported), ExportError> {
    let (mut written, cancel) = (Vec::new(), CancellationToken::new());
    let context = ExportContext { contents: memory, monitor: &Silent, cancel: &cancel };
    let exported = Export::open(memory, &source()).await?.write(context, format, &mut written).await?;
    assert_eq!(exported.bytes, written.len() as u64);
    Ok((written, exported))
}

#[tokio::test]
async fn the_archive_is_the_one_of_pg_dump() {
    for name in ["pg-15.dump", "pg-17.dump", "pg-18.dump"] {
        let archive = archive(name);
        let (written, exported) = export(&backup_of(&archive), Format::Archive).await.unwrap();
        assert!(written == archive, "{name} differs");
        assert_eq!((exported.tables, exported.rows, exported.large_objects), (10, 62, 4), "{name}");
        assert!(exported.exact);
    }
}

#[tokio::test]
async fn sql_has_the_texts_around_the_rows() {
    for name in ["pg-15.dump", "pg-17.dump", "pg-18.dump"] {
        let (written, _) = export(&backup_of(&archive(name)), Format::Sql).await.unwrap();
        let text = String::from_utf8_lossy(&written);
        let place = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{name}: no {needle}"));
        let rows = "\nCOPY public.people (id, name, mood) FROM stdin;\n1\tAda\thappy\n2\ttab\\tnew\\nline\\\\back\tsad\n\
                    3\t\t\\N\n4\t\\\\.\tit's ok\n\\.\n";
        let object = "\nBEGIN;\nSELECT pg_catalog.lo_open('17003', 131072);\n\
                      SELECT pg_catalog.lowrite(0, pg_catalog.decode('00ff0a5c2e0a', 'hex'));\nSELECT pg_catalog.lo_close(0);\nCOMMIT;\n";
        let order = [
            place("-- pre-data.sql"),
            place("SET DateStyle = 'ISO';"),
            place(rows),
            place(object),
            place("-- sequences.sql"),
            place("-- post-data.sql"),
        ];
        assert!(order.is_sorted(), "{name}: {order:?}");
        assert_eq!(text.contains("-- large-objects.sql"), name != "pg-15.dump");
        // A name can leave no line of its own.
        assert!(!text.contains("\n\\!"), "{name}");
    }
}

#[tokio::test]
async fn damage_is_found_whatever_the_format() {
    for format in [Format::Archive, Format::Sql] {
        let mut memory = backup_of(&archive("pg-15.dump"));
        memory.damaged = Some(("public.wide".to_owned(), 1));
        match export(&memory, format).await {
            Err(ExportError::Contents(error)) => assert!(error.is_damage(), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn rows_that_end_themselves_are_refused() {
    for (rows, format) in [
        ("a\n\\.\n\\! touch evil\n", Format::Sql),
        ("\\.\nDROP TABLE t;\n", Format::Sql),
        ("a\n\\.\nb\n", Format::Archive),
        ("a\nno end", Format::Archive),
    ] {
        let mut memory = backup_of(&archive("pg-15.dump"));
        memory.stream("public.orders")[0] = rows.into();
        let error = export(&memory, format).await.unwrap_err();
        assert!(error.to_string().contains("public.orders"), "{error}");
    }
    let mut sound = backup_of(&archive("pg-15.dump"));
    sound.stream("public.orders")[0] = "a\n\\\\.\n.\n\\.x\n".into();
    assert!(export(&sound, Format::Sql).await.is_ok());
}

#[test]
fn a_line_that_ends_the_rows_is_found_across_pieces() {
    let rows = b"ab\n\\.\ncd\n";
    for cut in 1..rows.len() {
        for second in cut..rows.len() {
            let stream = StreamInfo {
                number: 0,
                source: source(),
                name: "t".to_owned(),
                media_type: MediaType::Table,
                parts: Vec::new(),
            };
            let block = Block { dump_id: 1, data: Data::Table, stream };
            let mut guard = archive::RowGuard::default();
            let pieces = [&rows[..cut], &rows[cut..second], &rows[second..]];
            assert!(pieces.iter().any(|piece| guard.check(piece, &block).is_err()), "{cut} {second}");
            let mut guard = archive::RowGuard::default();
            let without_dot =
                |piece: &&[u8]| piece.iter().map(|b| if *b == b'.' { b',' } else { *b }).collect::<Vec<_>>();
            assert!(pieces.iter().map(without_dot).all(|piece| guard.check(&piece, &block).is_ok()));
            assert!(guard.finish(&block).is_ok());
        }
    }
}

#[tokio::test]
async fn documents_that_contradict_each_other_are_refused() {
    let sound = backup_of(&archive("pg-15.dump"));
    let document = String::from_utf8(sound.bytes[sound.streams.len() - 5][0].to_vec()).unwrap();
    for (from, to, said) in [
        ("\"stream\": \"public.orders\"", "\"stream\": \"public.wide\"", "names stream public.wide twice"),
        ("\"name\": \"orders\"", "\"name\": \"wide\"", "names table public.wide twice"),
        ("\"stream\": \"public.orders\"", "\"stream\": \"public.gone\"", "no stream `public.gone`"),
        ("drctl/v1", "drctl/v9", "drctl/v9 PostgresDatabase"),
        ("\"tables\": [", "\"tables\": [], \"later\": [", "streams of data"),
    ] {
        let mut memory = backup_of(&archive("pg-15.dump"));
        assert!(document.contains(from), "{document}");
        memory.stream(contents::DATABASE)[0] = document.replacen(from, to, 1).into();
        let number = memory.streams.len() - 5;
        memory.streams[number].parts[0].length = memory.bytes[number][0].len() as u64;
        let error = export(&memory, Format::Archive).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    let mut memory = backup_of(&archive("pg-15.dump"));
    let blobs = memory.streams.iter().position(|stream| stream.name.starts_with("large-objects/")).unwrap();
    memory.streams[blobs].parts[1].name = memory.streams[blobs].parts[0].name.clone();
    let error = export(&memory, Format::Archive).await.unwrap_err();
    assert!(error.to_string().contains("each once"), "{error}");
}
