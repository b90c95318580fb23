//! The tree that is graded: the course's own files, with only those of the learner's that a task lists.
//!
//! It lies in `target/grade/LAB`, a workspace like the repository's, with the same relative paths. So a compiler
//! message or a panic names `labs/01-triage/src/paged.rs:41`, which is where the learner looks, while an edited
//! test, manifest or build script counts for nothing. Crates, and the solutions of earlier labs, are the repository's
//! own, by a link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use course::{Files, Lab, Side, TESTS_DIR, read_files, starter};

use crate::files::{write_atomically, write_if_changed};
use crate::outcome::Sentinel;
use crate::{GradeError, Package, check};

/// Codegen units of a mirror: this many, and up to [`CODEGEN_UNITS_SPREAD`] more.
const CODEGEN_UNITS_FROM: u64 = 64;
/// How many different numbers there are.
const CODEGEN_UNITS_SPREAD: u64 = 192;

/// Name of the test that speaks last: tests run in the order of their names.
const SENTINEL: &str = "zz_the_grader_sees_the_end";

/// A lab ready to be built, and what there is to say about how it came together.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// The package to build.
    pub package: Package,
    /// Files that a learner edits, relative to the workspace.
    pub learner_files: Vec<PathBuf>,
    /// Those that are missing from the learner's tree: the starter's stand in for them.
    pub missing: Vec<PathBuf>,
    /// Given files that differ in the learner's tree, or that are extra in it: they do not count.
    pub ignored: Vec<PathBuf>,
    /// Names of the check functions that the build must have.
    pub(crate) expected: Vec<String>,
    pub(crate) sentinel: Option<Sentinel>,
}

/// Brings the grading tree of a learner's lab up to date.
///
/// # Errors
/// [`GradeError`] when the course cannot be read or the tree cannot be written.
pub fn mirror(lab: &Lab, target: &Path) -> Result<Mirror, GradeError> {
    let workspace = lab.root.join("target/grade").join(&lab.id);
    let folder = lab.folder(Side::Learner);
    let mut files = cached_starter(lab)?;
    let expected = check::expected_functions(&files);
    let learned = overlay(lab, &mut files)?;
    let sentinel = add_sentinel(&mut files, &workspace)?;
    Ok(Mirror {
        package: stage(lab, &workspace, target, &files)?,
        learner_files: lab.learner_files().iter().map(|file| folder.join(file)).collect(),
        missing: learned.missing,
        ignored: learned.ignored,
        expected,
        sentinel,
    })
}

/// Makes `workspace` a workspace like the repository's, with these files as its only lab, and returns the lab's
/// package. Only what differs is written.
///
/// # Errors
/// [`GradeError`] when the repository cannot be read or the workspace cannot be written.
pub fn stage(
    lab: &Lab,
    workspace: &Path,
    target: &Path,
    files: &Files,
) -> Result<Package, GradeError> {
    let folder = lab.folder(Side::Learner);
    write_root(lab, workspace)?;
    write_lab(&workspace.join(&folder), files)?;
    Ok(Package {
        workspace: workspace.to_owned(),
        target: target.to_owned(),
        name: lab.package(Side::Learner),
        folder,
    })
}

struct Overlay {
    missing: Vec<PathBuf>,
    ignored: Vec<PathBuf>,
}

/// Puts the learner's versions of the learner's files over the starter's.
fn overlay(lab: &Lab, files: &mut Files) -> Result<Overlay, GradeError> {
    let dir = lab.dir(Side::Learner);
    let theirs = if dir.is_dir() { read_files(&dir)? } else { Files::new() };
    let may_edit: BTreeSet<&Path> = lab.learner_files().into_iter().collect();
    let mut overlay = Overlay { missing: Vec::new(), ignored: Vec::new() };
    for file in &may_edit {
        match theirs.get(*file) {
            Some(content) => drop(files.insert(file.to_path_buf(), content.clone())),
            None => overlay.missing.push(file.to_path_buf()),
        }
    }
    let given = |path: &PathBuf| !may_edit.contains(path.as_path());
    let changed = files.iter().filter(|(path, content)| theirs.get(*path) != Some(*content));
    let extra = theirs.keys().filter(|path| !files.contains_key(*path) && is_source(path));
    overlay.ignored =
        changed.map(|(path, _)| path).chain(extra).filter(|path| given(path)).cloned().collect();
    Ok(overlay)
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

type Texts = BTreeMap<PathBuf, String>;

/// The starter, which takes a formatter to make, remembered for as long as the solution stays the same.
fn cached_starter(lab: &Lab) -> Result<Files, GradeError> {
    let cache = lab.root.join("target/grade").join(format!("{}.starter.json", lab.id));
    let key = fingerprint(lab)?;
    let kept: Option<(u64, Texts)> =
        fs::read(&cache).ok().and_then(|text| serde_json::from_slice(&text).ok());
    if let Some((kept_key, texts)) = kept
        && kept_key == key
    {
        return Ok(texts.into_iter().map(|(path, text)| (path, text.into_bytes())).collect());
    }
    let files = starter(lab)?;
    let text = |(path, content): (&PathBuf, &Vec<u8>)| {
        Some((path.clone(), String::from_utf8(content.clone()).ok()?))
    };
    // A lab with a file that is no text is made anew each time.
    let texts: Option<Texts> = files.iter().map(text).collect();
    if let Some(Ok(text)) = texts.map(|texts| serde_json::to_vec(&(key, texts))) {
        write_atomically(&cache, &text)?;
    }
    Ok(files)
}

/// A number that changes with what a starter is made from, and with the program that makes it.
fn fingerprint(lab: &Lab) -> Result<u64, GradeError> {
    #[allow(deprecated, reason = "the one hasher of std with a fixed key")]
    let mut hasher = std::hash::SipHasher::new();
    for (path, content) in course::read_files(&lab.dir(Side::Solution))? {
        hasher.write(path.as_os_str().as_encoded_bytes());
        hasher.write_usize(content.len());
        hasher.write(&content);
    }
    let program = std::env::current_exe().and_then(fs::metadata).and_then(|me| me.modified());
    let built = program.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    hasher.write_u128(built.map_or(0, |since| since.as_nanos()));
    Ok(hasher.finish())
}

/// Adds the test that speaks last to the module of checks, if the lab has one.
fn add_sentinel(files: &mut Files, workspace: &Path) -> Result<Option<Sentinel>, GradeError> {
    let names = [format!("{TESTS_DIR}.rs"), format!("{TESTS_DIR}/mod.rs")].map(PathBuf::from);
    let module = files.iter_mut().find(|(path, _)| names.contains(path));
    let Some((_, text)) = module else { return Ok(None) };
    let says = format!("the grader saw the end: {}", number(&workspace.with_extension("number"))?);
    let test = format!("\n#[test]\nfn {SENTINEL}() {{\n    eprintln!(\"\\n{says}\");\n}}\n");
    text.extend(test.as_bytes());
    Ok(Some(Sentinel { path: format!("tests::{SENTINEL}"), says }))
}

/// A number of this clone's own, the same in every run so that nothing is rebuilt for it.
fn number(path: &Path) -> Result<String, GradeError> {
    match fs::read_to_string(path) {
        Ok(number) if number.len() == 16 => Ok(number),
        _ => {
            let number = format!("{:016x}", RandomState::new().build_hasher().finish());
            write_atomically(path, number.as_bytes())?;
            Ok(number)
        }
    }
}

/// Manifest, lock file, crates and earlier solutions of the grading workspace.
fn write_root(lab: &Lab, workspace: &Path) -> Result<(), GradeError> {
    let path = lab.root.join("Cargo.toml");
    let text = fs::read_to_string(&path).map_err(GradeError::file("cannot read", &path))?;
    let manifest =
        root_manifest(&text, lab).map_err(|problem| GradeError::Repository { path, problem })?;
    write_if_changed(&workspace.join("Cargo.toml"), manifest.as_bytes())?;
    // cargo drops from its copy what this smaller workspace does not use; ours is compared with what it was.
    if let Ok(lock) = fs::read(lab.root.join("Cargo.lock"))
        && (write_if_changed(&workspace.join("Cargo.lock.source"), &lock)?
            || !workspace.join("Cargo.lock").is_file())
    {
        write_atomically(&workspace.join("Cargo.lock"), &lock)?;
    }
    let earlier = lab.earlier_solutions()?;
    for folder in earlier.iter().map(PathBuf::as_path).chain([Path::new("crates")]) {
        let ours = lab.root.join(folder);
        if ours.is_dir() {
            link(&ours, &workspace.join(folder))?;
        }
    }
    Ok(())
}

/// The repository's root manifest with the crates and this lab as its only members.
fn root_manifest(text: &str, lab: &Lab) -> Result<String, String> {
    let mut manifest: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
    let members =
        if lab.root.join("crates").is_dir() { vec!["crates/*".to_owned()] } else { vec![] };
    let folder = lab.folder(Side::Learner).display().to_string().replace('\\', "/");
    let workspace = table(&mut manifest, "workspace")?;
    workspace.insert("members".into(), [members, vec![folder]].concat().into());
    workspace.remove("default-members");
    workspace.remove("exclude");
    let mut profile = table(&mut manifest, "profile")?;
    for key in ["dev", "package", &lab.package(Side::Learner)] {
        profile = table(profile, key)?;
    }
    profile.insert("codegen-units".into(), codegen_units(&lab.root).into());
    toml::to_string(&manifest).map_err(|error| error.to_string())
}

/// Sets the lab's build outputs apart from those of the repository's own copy of it, and of other clones that
/// share a target folder. All have the same relative path, and cargo names outputs after that and the profile:
/// without this, it could take a program built from another tree for ours.
fn codegen_units(root: &Path) -> i64 {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    (CODEGEN_UNITS_FROM + hasher.finish() % CODEGEN_UNITS_SPREAD) as i64
}

fn table<'t>(parent: &'t mut toml::Table, key: &str) -> Result<&'t mut toml::Table, String> {
    let entry = parent.entry(key).or_insert_with(|| toml::Table::new().into());
    entry.as_table_mut().ok_or_else(|| format!("{key} is no table"))
}

/// Makes `link` a link to a folder, where the system has links; else a copy of it.
fn link(folder: &Path, link: &Path) -> Result<(), GradeError> {
    if fs::read_link(link).is_ok_and(|to| to == folder) {
        return Ok(());
    }
    #[cfg(unix)]
    {
        let _stale_or_absent = fs::remove_file(link);
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent).map_err(GradeError::file("cannot make", parent))?;
        }
        std::os::unix::fs::symlink(folder, link).map_err(GradeError::file("cannot make", link))
    }
    #[cfg(not(unix))]
    write_lab(link, &read_files(folder)?)
}

/// Makes a folder hold exactly these files, and touches none that is right already.
fn write_lab(dir: &Path, files: &Files) -> Result<(), GradeError> {
    fs::create_dir_all(dir).map_err(GradeError::file("cannot make", dir))?;
    for stranger in read_files(dir)?.keys().filter(|path| !files.contains_key(*path)) {
        let path = dir.join(stranger);
        fs::remove_file(&path).map_err(GradeError::file("cannot remove", &path))?;
    }
    for (path, content) in files {
        write_if_changed(&dir.join(path), content)?;
    }
    Ok(())
}
