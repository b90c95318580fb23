//! What the outcome of a live check depends on, as a number that changes whenever any of it does.
//!
//! That is: the learner's files of the task and of those it needs, everything of the course's that goes into the engine
//! and the checks, the model, and the seed. Not the machine's mood: a check that passed once on the same code need not
//! prove it again. What a learner writes into the state file by hand is believed; `--fresh` believes nothing. So nobody needs
//! to forge a key, and the standard library's hash is enough. Should it change with a toolchain, checks run once more.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use course::{Files, Lab, Task, TaskId, read_files, solution_files};

use crate::{GradeError, Package};

/// What is the same for all tasks of a run.
#[derive(Clone)]
pub(crate) struct LiveKeys {
    common: DefaultHasher,
}

impl LiveKeys {
    /// Reads the course's own sources, and looks at the model: a file's name, size and time, for it is large. `on` names the cluster.
    ///
    /// # Errors
    /// [`GradeError`] where the course cannot be read.
    pub(crate) fn new(lab: &Lab, model: &str, on: &str, seed: u64) -> Result<Self, GradeError> {
        let mut common = DefaultHasher::new();
        for folder in
            lab.earlier_solutions()?.iter().map(PathBuf::as_path).chain([Path::new("crates")])
        {
            let folder = lab.root.join(folder);
            if folder.is_dir() {
                let files = read_files(&folder)?;
                add_files(&mut common, files.iter().filter(|(path, _)| is_code(path)));
            }
        }
        let learned: BTreeSet<&Path> = lab.learner_files().into_iter().collect();
        let given = solution_files(lab)?;
        let given = given.iter().filter(|(path, _)| !learned.contains(path.as_path()));
        add_files(&mut common, given);
        // Programs of other labs that its pods run.
        add(&mut common, format!("{:?}", lab.images).as_bytes());
        if lab.images.iter().any(|image| image.from.is_some()) {
            let others = read_files(&lab.root.join("solutions"))?;
            add_files(&mut common, others.iter().filter(|(path, _)| is_code(path)));
        }
        for name in ["Cargo.toml", "Cargo.lock"] {
            add(&mut common, &fs::read(lab.root.join(name)).unwrap_or_default());
        }
        add(&mut common, model.as_bytes());
        add(&mut common, &stamp(Path::new(model)));
        add(&mut common, on.as_bytes());
        add(&mut common, &seed.to_le_bytes());
        Ok(Self { common })
    }

    /// The key of one task, whose files lie in `package`.
    ///
    /// # Errors
    /// [`GradeError::File`] where one of them cannot be read.
    pub(crate) fn of(
        &self,
        lab: &Lab,
        task: &Task,
        package: &Package,
    ) -> Result<String, GradeError> {
        let folder = package.workspace.join(&package.folder);
        let mut files = Files::new();
        for file in files_of(lab, task.id) {
            let path = folder.join(&file);
            let content = fs::read(&path).map_err(GradeError::file("cannot read", &path))?;
            files.insert(file, content);
        }
        let mut hash = self.common.clone();
        add_files(&mut hash, files.iter());
        Ok(format!("{:016x}", hash.finish()))
    }
}

/// The learner's files of a task, and of all that it needs, directly or not.
fn files_of(lab: &Lab, id: TaskId) -> BTreeSet<PathBuf> {
    let mut wanted = BTreeSet::from([id]);
    // A task needs only tasks before it.
    for task in lab.tasks.iter().rev() {
        if wanted.contains(&task.id) {
            wanted.extend(&task.needs);
        }
    }
    let tasks = lab.tasks.iter().filter(|task| wanted.contains(&task.id));
    tasks.flat_map(|task| task.files.iter().cloned()).collect()
}

fn is_code(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs" || extension == "toml")
}

fn add_files<'f>(
    hash: &mut DefaultHasher,
    files: impl Iterator<Item = (&'f PathBuf, &'f Vec<u8>)>,
) {
    for (path, content) in files {
        add(hash, path.as_os_str().as_encoded_bytes());
        add(hash, content);
    }
}

/// With its length, so that the end of one part is not the beginning of the next.
fn add(hash: &mut DefaultHasher, part: &[u8]) {
    hash.write_usize(part.len());
    hash.write(part);
}

/// Size and time of a model's file; nothing for one that is built in.
fn stamp(model: &Path) -> Vec<u8> {
    let Ok(metadata) = fs::metadata(model) else { return Vec::new() };
    let modified = metadata.modified().ok();
    let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let nanos = since.map_or(0, |since| since.as_nanos());
    [metadata.len().to_le_bytes().to_vec(), nanos.to_le_bytes().to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use course::{Course, Side};

    use super::*;

    const FOLDER: &str = "solutions/01-fixture";

    /// A course of two tasks, 1.2 on 1.1, in a folder of its own.
    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new() -> Self {
            let fixture = Self(tempfile::tempdir().unwrap());
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../author/tests/fixture");
            for (path, content) in read_files(&source).unwrap() {
                fixture.write(&path, &content);
            }
            fixture.write(Path::new("crates/given/src/lib.rs"), b"//! Given.\n");
            fixture.write(Path::new("model.gguf"), b"GGUF");
            fixture
        }

        fn write(&self, path: &Path, content: &[u8]) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn append(&self, path: &str) {
            let mut content = fs::read(self.0.path().join(path)).unwrap();
            content.extend(b"// changed\n");
            self.write(Path::new(path), &content);
        }

        /// The keys of 1.1 and 1.2 on this model.
        fn keys_on(&self, model: &str, seed: u64) -> [String; 2] {
            let course = Course::discover(self.0.path()).unwrap();
            let lab = course.lab(1).unwrap();
            let package = Package {
                workspace: self.0.path().to_owned(),
                target: self.0.path().join("target"),
                name: lab.package(Side::Solution),
                folder: FOLDER.into(),
            };
            let keys = LiveKeys::new(lab, model, "", seed).unwrap();
            [0, 1].map(|index| keys.of(lab, &lab.tasks[index], &package).unwrap())
        }

        fn keys(&self) -> [String; 2] {
            self.keys_on(&self.0.path().join("model.gguf").display().to_string(), 7)
        }
    }

    #[test]
    fn a_key_changes_with_the_files_of_the_task_and_of_what_it_needs() {
        let fixture = Fixture::new();
        let [tally, average] = fixture.keys();
        assert_eq!(fixture.keys(), [tally.clone(), average.clone()]);
        fixture.append(&format!("{FOLDER}/src/average.rs"));
        let [same, changed] = fixture.keys();
        assert_eq!(same, tally, "1.1 does not need 1.2");
        assert_ne!(changed, average);
        fixture.append(&format!("{FOLDER}/src/tally.rs"));
        let [tally_changed, again] = fixture.keys();
        assert_ne!(tally_changed, tally);
        assert_ne!(again, changed, "1.2 needs 1.1");
    }

    #[test]
    fn every_key_changes_with_what_is_given() {
        let given = ["src/tests/task_1_1.rs", "src/lib.rs"].map(|file| format!("{FOLDER}/{file}"));
        let given = given.iter().map(String::as_str);
        for file in given.chain(["crates/given/src/lib.rs", "Cargo.lock", "model.gguf"]) {
            let fixture = Fixture::new();
            let before = fixture.keys();
            fixture.append(file);
            let after = fixture.keys();
            assert!(before.iter().zip(&after).all(|(one, other)| one != other), "{file}");
        }
        let fixture = Fixture::new();
        let tiny = fixture.keys_on("tiny", 7);
        assert_ne!(tiny, fixture.keys());
        assert_ne!(tiny, fixture.keys_on("tiny", 8));
    }

    #[test]
    fn a_key_does_not_change_with_what_nobody_runs() {
        let fixture = Fixture::new();
        let before = fixture.keys();
        fixture.append(&format!("{FOLDER}/mutants/1.1/skips_zeros.patch"));
        fixture.write(Path::new("crates/given/README.md"), b"More words.\n");
        assert_eq!(fixture.keys(), before);
    }
}
