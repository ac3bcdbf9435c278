//! A folder: each shipment is a file of it, whole or not there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tollgate_domain::Shipment;

use super::{SinkError, beside};
use crate::body;

/// A folder. A shipment that is sent again is the same file again.
#[derive(Debug)]
pub struct FolderSink {
    path: PathBuf,
}

impl FolderSink {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) async fn send(&self, shipment: &Shipment) -> Result<(), SinkError> {
        let (folder, name) = (self.path.clone(), file_name(shipment));
        let bytes = body::lines(shipment).map_err(SinkError::caused_by)?;
        beside(move || {
            let said = |error| SinkError::new(format_args!("the file {name} cannot be written: {error}"));
            write(&folder, &name, &bytes).map_err(said)
        })
        .await
    }
}

fn file_name(shipment: &Shipment) -> String {
    format!("{}-{}.ndjson", body::date(shipment.day), shipment.id)
}

/// Under another name, to the disk, then under its own: whoever sees the file sees all of it.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(format!(".{name}.unfinished"));
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::tests::shipment;

    fn files(folder: &Path) -> Vec<(String, String)> {
        let read = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.expect("a file");
            let name = entry.file_name().into_string().expect("UTF-8");
            (name, fs::read_to_string(entry.path()).expect("a text"))
        };
        fs::read_dir(folder).expect("a folder").map(read).collect()
    }

    #[tokio::test]
    async fn a_shipment_is_one_file_however_often_it_is_sent() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("made/on/the/way");
        let sink = FolderSink::new(path.clone());
        let text = String::from_utf8(body::lines(&shipment()).expect("lines")).expect("UTF-8");
        for _ in 0..3 {
            sink.send(&shipment()).await.expect("it is written");
            assert_eq!(files(&path), [("2026-11-21-00ff.ndjson".to_owned(), text.clone())]);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "in the way").expect("a file");
        let error = FolderSink::new(file).send(&shipment()).await.expect_err("a file is no folder");
        assert!(
            error.to_string().starts_with("the file 2026-11-21-00ff.ndjson cannot be written"),
            "{error}"
        );
    }
}
