//! What is kept when the process ends: every object's newest version, in one file.
//!
//! A thread of its own writes what the store hands it, in order. Whatever has come while the disk was busy goes into the
//! next transaction, so the rate of writes does not hang on the time of a sync. A transaction is there as a whole or not at
//! all, whenever the process dies.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use apimachinery::{Key, Status};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::Value;
use tokio::sync::watch;

use crate::object::ObjectRef;

/// Newest versions, by [`path`].
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// Numbers by name.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// The name of the file's format among the numbers.
const FORMAT: &str = "format";
/// The name of the newest revision among the numbers.
const REVISION: &str = "revision";
/// The format that this program reads and writes.
const FORMAT_VERSION: u64 = 1;
/// Changes that wait for the disk. When there are more, writers wait.
const WAITING: usize = 4096;
/// Changes of one transaction.
const BATCH: usize = 1024;
/// Bytes of the file that the library keeps in memory; we read it only once.
const CACHE: usize = 1024 * 1024;

/// Why a file of objects cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The library says so: no such folder, no space, in use by another process, damaged.
    #[error("the cluster's state: {0}")]
    Database(Box<redb::Error>),
    /// Another version of this program wrote it.
    #[error(
        "the cluster's state has format {found}, this program reads {FORMAT_VERSION}: use the program that wrote it, or delete the file"
    )]
    Format {
        /// What it has.
        found: u64,
    },
    /// An object in it is none.
    #[error("the cluster's state: {at:?}: {why}")]
    Object {
        /// Where.
        at: String,
        /// Why.
        why: String,
    },
    /// The system has no thread to give.
    #[error("the cluster's state: no thread: {0}")]
    Thread(std::io::Error),
}

impl<E: Into<redb::Error>> From<E> for OpenError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// An object as it was kept: group, plural, content.
pub(crate) type Kept = (String, String, Value);

/// A change on its way to the disk.
struct Record {
    revision: u64,
    path: String,
    /// None: the object is gone.
    object: Option<ObjectRef>,
}

/// How far the disk is.
#[derive(Clone, Debug)]
enum Progress {
    Written(u64),
    Failed(String),
}

/// The way to the disk.
#[derive(Debug)]
pub(crate) struct Journal {
    /// None once it is closing.
    records: Option<SyncSender<Record>>,
    progress: watch::Receiver<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens a file, or makes it: the journal, the newest revision (0: a new file), and every object.
    pub(crate) fn open(path: &Path) -> Result<(Self, u64, Vec<Kept>), OpenError> {
        let database = Database::builder().set_cache_size(CACHE).create(path)?;
        let (revision, objects) = load(&database)?;
        let (records, waiting) = sync_channel(WAITING);
        let (told, progress) = watch::channel(Progress::Written(revision));
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || run(&database, &waiting, &told))
            .map_err(OpenError::Thread)?;
        Ok((Self { records: Some(records), progress, thread: Some(thread) }, revision, objects))
    }

    /// Hands over a change. Waits while too many wait already.
    pub(crate) fn write(
        &self,
        resource: (&str, &str),
        key: &Key,
        revision: u64,
        object: Option<&ObjectRef>,
    ) {
        let record = Record { revision, path: path_of(resource, key), object: object.cloned() };
        if let Some(records) = &self.records {
            // A writer that failed has said so; whoever waits for the disk is told.
            let _ = records.send(record);
        }
    }

    /// Waits until everything up to a revision is on the disk.
    pub(crate) fn written(
        &self,
        revision: u64,
    ) -> impl Future<Output = Result<(), Status>> + Send + use<> {
        let mut progress = self.progress.clone();
        async move {
            let reached = |progress: &Progress| match progress {
                Progress::Written(to) => *to >= revision,
                Progress::Failed(_) => true,
            };
            match progress.wait_for(reached).await.as_deref() {
                Ok(Progress::Written(_)) => Ok(()),
                Ok(Progress::Failed(why)) => {
                    Err(Status::internal(format_args!("the cluster's state: {why}")))
                }
                Err(_) => Err(Status::internal("the cluster's state is closed")),
            }
        }
    }
}

impl Drop for Journal {
    /// Waits until everything is on the disk.
    fn drop(&mut self) {
        drop(self.records.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

/// Where an object is kept. No name holds a zero.
fn path_of((group, plural): (&str, &str), key: &Key) -> String {
    format!("{group}\0{plural}\0{}\0{}", key.namespace, key.name)
}

fn load(database: &Database) -> Result<(u64, Vec<Kept>), OpenError> {
    let write = database.begin_write()?;
    {
        let mut numbers = write.open_table(NUMBERS)?;
        let found = numbers.get(FORMAT)?.map(|found| found.value());
        match found {
            None => drop(numbers.insert(FORMAT, FORMAT_VERSION)?),
            Some(FORMAT_VERSION) => {}
            Some(found) => return Err(OpenError::Format { found }),
        }
        write.open_table(OBJECTS)?;
    }
    write.commit()?;
    let read = database.begin_read()?;
    let revision = read.open_table(NUMBERS)?.get(REVISION)?.map_or(0, |found| found.value());
    let mut objects = Vec::new();
    for entry in read.open_table(OBJECTS)?.iter()? {
        let (at, text) = entry?;
        let wrong = |why: String| OpenError::Object { at: at.value().replace('\0', "/"), why };
        let value: Value =
            serde_json::from_slice(text.value()).map_err(|error| wrong(error.to_string()))?;
        let mut parts = at.value().split('\0');
        let (Some(group), Some(plural)) = (parts.next(), parts.next()) else {
            return Err(wrong("no such place".to_owned()));
        };
        objects.push((group.to_owned(), plural.to_owned(), value));
    }
    Ok((revision, objects))
}

fn run(database: &Database, waiting: &Receiver<Record>, told: &watch::Sender<Progress>) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter().take(BATCH - 1));
        let progress = match commit(database, &batch) {
            Ok(revision) => Progress::Written(revision),
            Err(error) => Progress::Failed(error.to_string()),
        };
        let failed = matches!(progress, Progress::Failed(_));
        told.send_replace(progress);
        if failed {
            // What follows would leave a gap. Records are read on, so that no writer waits for ever.
            for _ in waiting.iter() {}
        }
    }
}

fn commit(database: &Database, batch: &[Record]) -> Result<u64, redb::Error> {
    let write = database.begin_write()?;
    let mut revision = 0;
    {
        let mut objects = write.open_table(OBJECTS)?;
        for record in batch {
            match &record.object {
                Some(object) => objects.insert(record.path.as_str(), object.json().as_ref())?,
                None => objects.remove(record.path.as_str())?,
            };
            revision = revision.max(record.revision);
        }
        write.open_table(NUMBERS)?.insert(REVISION, revision)?;
    }
    write.commit()?;
    Ok(revision)
}
