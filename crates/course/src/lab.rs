//! The course as a tree: labs, their tasks, and the regions that a learner writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::manifest::{self, Built, ImageProgram, Keys};
use crate::{CourseError, Files, MANIFEST, Region, TaskId, regions, solution_files};

/// All labs of a repository.
#[derive(Debug, Clone)]
pub struct Course {
    /// Folder of the repository.
    pub root: PathBuf,
    /// Ascending by number, which are unique.
    pub labs: Vec<Lab>,
}

/// One lab: the solution that it is made from, and what `lab.toml` says about it.
#[derive(Debug, Clone)]
pub struct Lab {
    /// Folder of the repository.
    pub root: PathBuf,
    /// What people type: `cargo xtask lab 1`.
    pub number: u32,
    /// Name of both its folders: `01-triage`.
    pub id: String,
    /// For people.
    pub title: String,
    /// First chapter, below `book/src`.
    pub chapter: PathBuf,
    /// Name of the program that live checks start, without the package's prefix: `engine`.
    pub engine: Option<String>,
    /// Where live checks run unless `--on` says otherwise: `embedded`; processes of this machine if absent.
    pub on: Option<String>,
    /// Whether live checks need a language model.
    pub needs_model: bool,
    /// Programs that pods of live checks run, beside those that every cluster of the course knows.
    pub images: Vec<ImageProgram>,
    /// The staff's programs that live checks start beside the lab's own, where they run as processes of this machine.
    pub programs: Vec<Built>,
    /// In the order in which they are meant to be solved; never empty.
    pub tasks: Vec<Task>,
}

/// One task: what to write, where, and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// `1.3`.
    pub id: TaskId,
    /// For people.
    pub title: String,
    /// What all its checks together are worth.
    pub points: u32,
    /// The only files that a learner edits for it, relative to the lab's folder.
    pub files: Vec<PathBuf>,
    /// Tasks whose code its checks run, all before it.
    pub needs: Vec<TaskId>,
    /// Its chapter, below `book/src`.
    pub chapter: PathBuf,
    /// For each pure check.
    pub time_limit: Duration,
    /// For each live check.
    pub live_time_limit: Duration,
    /// From a nudge to nearly the answer.
    pub hints: [String; 3],
    /// Where the solution has its code; at least one.
    pub regions: Vec<TaskRegion>,
}

/// A region of a task in the solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRegion {
    /// Relative to the lab's folder; one of the task's files.
    pub file: PathBuf,
    /// Where in it.
    pub region: Region,
}

/// Whose copy of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The complete one, below `solutions/`.
    Solution,
    /// The one with holes that learners fill, below `labs/`.
    Learner,
}

// === impl Course ===

impl Course {
    /// Reads every `solutions/*/lab.toml` below the repository's root, and checks them.
    ///
    /// # Errors
    /// [`CourseError`] where a file cannot be read, where there is no lab, and for the first thing in a lab
    /// that does not hold together.
    pub fn discover(root: &Path) -> Result<Self, CourseError> {
        let solutions = root.join("solutions");
        let failed = |source| CourseError::Read { file: solutions.clone(), source };
        let mut folders = Vec::new();
        for entry in fs::read_dir(&solutions).map_err(failed)? {
            let folder = entry.map_err(failed)?.path();
            if folder.join(MANIFEST).is_file() {
                folders.push(folder);
            }
        }
        if folders.is_empty() {
            return Err(CourseError::NoLabs(solutions));
        }
        folders.sort();
        let mut labs: Vec<Lab> = Vec::new();
        for folder in folders {
            let lab = Lab::load(root, &folder)?;
            if let Some(twin) = labs.iter().find(|twin| twin.number == lab.number) {
                let problem = format!("{} is the number of {} too", lab.number, twin.id);
                return Err(Keys { file: folder.join(MANIFEST) }.wrong("number", problem));
            }
            labs.push(lab);
        }
        labs.sort_by_key(|lab| lab.number);
        Ok(Self { root: root.to_owned(), labs })
    }

    /// The lab of a number.
    #[must_use]
    pub fn lab(&self, number: u32) -> Option<&Lab> {
        self.labs.iter().find(|lab| lab.number == number)
    }

    /// A task and its lab.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<(&Lab, &Task)> {
        let lab = self.lab(id.lab)?;
        Some((lab, lab.task(id)?))
    }
}

// === impl Lab ===

impl Lab {
    /// Reads and checks the lab whose solution is in `folder`.
    ///
    /// # Errors
    /// [`CourseError`] where a file cannot be read, and for the first thing that does not hold together.
    pub fn load(root: &Path, folder: &Path) -> Result<Self, CourseError> {
        let (manifest, tasks) = manifest::read(folder)?;
        let mut lab = Self {
            root: root.to_owned(),
            number: manifest.number,
            id: manifest.id,
            title: manifest.title,
            chapter: manifest.chapter,
            engine: manifest.engine,
            on: manifest.on,
            needs_model: manifest.model,
            images: manifest.images,
            programs: manifest.programs,
            tasks,
        };
        let files = solution_files(&lab)?;
        lab.take_regions(&files, folder)?;
        Ok(lab)
    }

    /// One of its tasks.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == id)
    }

    /// What all tasks together are worth.
    #[must_use]
    pub fn points(&self) -> u32 {
        self.tasks.iter().map(|task| task.points).sum()
    }

    /// Folder relative to the repository's root: `labs/01-triage`.
    #[must_use]
    pub fn folder(&self, side: Side) -> PathBuf {
        let parent = match side {
            Side::Solution => "solutions",
            Side::Learner => "labs",
        };
        Path::new(parent).join(&self.id)
    }

    /// Folder with the repository's root in front.
    #[must_use]
    pub fn dir(&self, side: Side) -> PathBuf {
        self.root.join(self.folder(side))
    }

    /// Folders of the solutions of all labs before this one, relative to the repository's root, in their order. A lab may
    /// build on them; it never builds on what a learner wrote in another lab.
    ///
    /// # Errors
    /// [`CourseError::Read`] where the folder of all solutions cannot be read.
    pub fn earlier_solutions(&self) -> Result<Vec<PathBuf>, CourseError> {
        let solutions = self.root.join("solutions");
        let failed = |source| CourseError::Read { file: solutions.clone(), source };
        let mut folders = Vec::new();
        for entry in fs::read_dir(&solutions).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|name| name.split_once('-')?.0.parse().ok());
            let is_lab = solutions.join(&name).join(MANIFEST).is_file();
            if is_lab && number.is_some_and(|number: u32| number < self.number) {
                folders.push(Path::new("solutions").join(name));
            }
        }
        folders.sort();
        Ok(folders)
    }

    /// What names of packages and programs begin with: `sol01`, `lab01`.
    #[must_use]
    pub fn prefix(&self, side: Side) -> String {
        match side {
            Side::Solution => format!("sol{:02}", self.number),
            Side::Learner => format!("lab{:02}", self.number),
        }
    }

    /// Name of the package: `lab01-triage`.
    #[must_use]
    pub fn package(&self, side: Side) -> String {
        // The id is "01-triage": what follows the number.
        self.prefix(side) + &self.id[2..]
    }

    /// Name of the library in Rust: `lab01_triage`.
    #[must_use]
    pub fn crate_name(&self, side: Side) -> String {
        self.package(side).replace('-', "_")
    }

    /// Name of the program that live checks start: `lab01-engine`.
    #[must_use]
    pub fn engine_bin(&self, side: Side) -> Option<String> {
        self.engine.as_ref().map(|name| format!("{}-{name}", self.prefix(side)))
    }

    /// The task that a line of a learner's or the solution's file belongs to, if it is in a region of one.
    #[must_use]
    pub fn task_at(&self, text: &str, line: usize) -> Option<&Task> {
        self.tasks.iter().find(|task| {
            task.regions.iter().any(|own| {
                let found = regions::find(text, &own.region.name);
                found.is_some_and(|region| region.contains_line(line))
            })
        })
    }

    /// Every file that some task lets a learner edit, relative to the lab's folder, each once.
    #[must_use]
    pub fn learner_files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> =
            self.tasks.iter().flat_map(|task| task.files.iter().map(PathBuf::as_path)).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Finds the regions of all tasks in the solution's sources.
    fn take_regions(&mut self, files: &Files, folder: &Path) -> Result<(), CourseError> {
        let keys = Keys { file: folder.join(MANIFEST) };
        let mut homes: BTreeMap<String, PathBuf> = BTreeMap::new();
        for (path, content) in files.iter().filter(|(path, _)| is_rust(path)) {
            let file = folder.join(path);
            let wrong = |problem| CourseError::Source { file: file.clone(), problem };
            let text = str::from_utf8(content).map_err(|_| wrong("is not UTF-8".to_owned()))?;
            let parsed = regions::parse(text)
                .map_err(|source| CourseError::Region { file: file.clone(), source })?;
            for region in parsed {
                let Some(id) = region.task() else {
                    if region.name.starts_with("task_") {
                        let name = region.name;
                        return Err(wrong(format!(
                            "region {name}: expected task_{}_N",
                            self.number
                        )));
                    }
                    continue;
                };
                let task = self.tasks.iter_mut().find(|task| task.id == id).ok_or_else(|| {
                    wrong(format!("region {}: {id} is no task of {MANIFEST}", region.name))
                })?;
                if !task.files.contains(path) {
                    let problem = format!(
                        "{} is not listed, but holds region {}",
                        path.display(),
                        region.name
                    );
                    return Err(keys.wrong_in(id, "files", problem));
                }
                if let Some(home) = homes.insert(region.name.clone(), path.clone()) {
                    let problem = format!("region {} is in {} too", region.name, home.display());
                    return Err(wrong(problem));
                }
                task.regions.push(TaskRegion { file: path.clone(), region });
            }
        }
        match self.tasks.iter().find(|task| task.regions.is_empty()) {
            Some(Task { id, .. }) => {
                let name = id.region_prefix();
                let problem = format!("none holds a region (`// ANCHOR: {name}`)");
                Err(keys.wrong_in(*id, "files", problem))
            }
            None => Ok(()),
        }
    }
}

pub(crate) fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}
