//! From the Hugging Face hub.

use std::fs::File;
use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use hf_hub::HFClientBuilder;
use hf_hub::repository::RepoTreeEntry;
use tokio::time::{sleep, timeout};

use crate::catalogue::Model;
use crate::error::StoreError;
use crate::interrupt::{Interrupt, POLL};
use crate::sink::Sink;

/// Longest wait for the hub to answer at all.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Longest silence in the middle of a file.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// Streams the model's file into the sink that `begin` makes once the hub has answered.
pub(crate) fn fetch(
    model: &'static Model,
    begin: impl FnOnce() -> Result<Sink<File>, StoreError>,
    interrupt: &Interrupt,
) -> Result<Sink<File>, StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StoreError::Source(error.to_string()))?;
    let result = runtime.block_on(unless_interrupted(interrupt, stream(model, begin)));
    // Name look-ups that hang would else be waited for.
    runtime.shutdown_background();
    result
}

async fn stream(
    model: &'static Model,
    begin: impl FnOnce() -> Result<Sink<File>, StoreError>,
) -> Result<Sink<File>, StoreError> {
    let opened = timeout(ANSWER_LIMIT, async {
        let client = HFClientBuilder::new().retry_max_attempts(1).build().map_err(failed)?;
        let (owner, name) = hf_hub::split_id(model.hub);
        let repository = client.model(owner, name);
        let entries = repository.get_paths_info().paths(vec![model.file.to_owned()]);
        check(model, &entries.send().await.map_err(failed)?)?;
        let stream = repository.download_file_stream().filename(model.file);
        Ok(stream.send().await.map_err(failed)?.1)
    });
    let seconds = |limit: Duration| StoreError::Timeout(limit.as_secs());
    let mut bytes = opened.await.map_err(|_| seconds(ANSWER_LIMIT))??;
    let mut sink = begin()?;
    loop {
        match timeout(SILENCE_LIMIT, bytes.next()).await.map_err(|_| seconds(SILENCE_LIMIT))? {
            Some(bytes) => sink.write(&bytes.map_err(failed)?)?,
            None => return Ok(sink),
        }
    }
}

/// Refuses before the download where the hub has another file under this name.
fn check(model: &Model, entries: &[RepoTreeEntry]) -> Result<(), StoreError> {
    let sum = entries.iter().find_map(|entry| match entry {
        RepoTreeEntry::File { path, lfs, .. } if path == model.file => lfs.as_ref()?.sha256.clone(),
        _ => None,
    });
    match sum {
        Some(sum) if sum != model.sha256 => Err(StoreError::Mismatch {
            expected: format!("sha256 {}", model.sha256),
            found: format!("sha256 {sum}"),
        }),
        _ => Ok(()),
    }
}

/// The innermost cause: "connection refused" says more than "error sending request".
fn failed(error: hf_hub::HFError) -> StoreError {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    StoreError::Source(cause.to_string())
}

async fn unless_interrupted<T>(
    interrupt: &Interrupt,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let watch = async {
        while interrupt.check().is_ok() {
            sleep(POLL).await;
        }
    };
    futures_util::pin_mut!(work, watch);
    match futures_util::future::select(work, watch).await {
        futures_util::future::Either::Left((result, _)) => result,
        futures_util::future::Either::Right(_) => Err(StoreError::Interrupted),
    }
}
