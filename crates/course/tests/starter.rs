//! The starter of a small lab, as a learner finds it, and what is refused of a lab.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};

use course::{Course, Files, Side, TaskId, empty_tasks, read_files, solution_files, starter};

fn fixture() -> Course {
    Course::discover(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture")).unwrap()
}

fn as_page(files: &Files) -> String {
    let page = |(path, content): (&PathBuf, &Vec<u8>)| {
        format!("==== {}\n{}", path.display(), str::from_utf8(content).unwrap())
    };
    files.iter().map(page).collect()
}

#[test]
fn a_starter_has_holes_checks_and_a_readme() {
    insta::assert_snapshot!(as_page(&starter(&fixture().labs[0]).unwrap()));
}

#[test]
fn generating_twice_gives_the_same_bytes() {
    let lab = &fixture().labs[0];
    assert_eq!(starter(lab).unwrap(), starter(lab).unwrap());
}

#[test]
fn checks_are_copied_byte_for_byte() {
    let lab = &fixture().labs[0];
    let (solution, starter) = (solution_files(lab).unwrap(), starter(lab).unwrap());
    let checks = Path::new("src/tests/task_1_1.rs");
    assert_eq!(solution[checks], starter[checks]);
}

#[test]
fn emptying_one_task_leaves_the_others() {
    let lab = &fixture().labs[0];
    let solution = solution_files(lab).unwrap();
    let id = TaskId { lab: 1, task: 2 };
    let emptied = empty_tasks(lab, &solution, &[id]).unwrap();
    let changed: Vec<_> = emptied.iter().filter(|(path, text)| &solution[*path] != *text).collect();
    let [(path, text)] = changed[..] else { panic!("{} files changed", changed.len()) };
    assert_eq!(path, Path::new("src/report.rs"));
    let text = str::from_utf8(text).unwrap();
    assert_eq!(text.matches("todo!(\"task 1.2\")").count(), 2);
    assert_eq!(empty_tasks(lab, &solution, &[]).unwrap(), solution);
}

#[test]
fn names_follow_from_number_and_id() {
    let lab = &fixture().labs[0];
    assert_eq!(lab.package(Side::Solution), "sol01-fixture");
    assert_eq!(lab.package(Side::Learner), "lab01-fixture");
    assert_eq!(lab.crate_name(Side::Learner), "lab01_fixture");
    assert_eq!(lab.engine_bin(Side::Learner).unwrap(), "lab01-engine");
    assert_eq!(lab.folder(Side::Learner), Path::new("labs/01-fixture"));
    assert_eq!(lab.points(), 25);
}

#[test]
fn knows_the_task_of_a_line() {
    let lab = &fixture().labs[0];
    let text = str::from_utf8(&solution_files(lab).unwrap()[Path::new("src/report.rs")])
        .unwrap()
        .to_owned();
    let task_of = |line| lab.task_at(&text, line).map(|task| task.id.to_string());
    assert_eq!(task_of(11).as_deref(), Some("1.2"));
    assert_eq!(task_of(6), None);
}

/// What discovering the fixture says after one text in one file is replaced by another.
fn complaint(file: &str, from: &str, to: &str) -> String {
    let copy = tempfile::tempdir().unwrap();
    let original = fixture().labs[0].dir(Side::Solution);
    let folder = copy.path().join("solutions/01-fixture");
    for (path, content) in read_files(&original).unwrap() {
        let target = folder.join(&path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, content).unwrap();
    }
    let file = folder.join(file);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from:?} is not in {}", file.display());
    fs::write(&file, text.replacen(from, to, 1)).unwrap();
    let error = match Course::discover(copy.path()) {
        Err(error) => error,
        Ok(course) => starter(&course.labs[0]).expect_err("the lab was accepted"),
    };
    error.to_string().trim_end().replace(&folder.display().to_string(), "FOLDER")
}

#[test]
fn a_lab_says_where_its_live_checks_run_and_what_pods_run_there() {
    let plain = &fixture().labs[0];
    assert!(plain.on.is_none() && plain.needs_model && plain.images.is_empty());
    let copy = tempfile::tempdir().unwrap();
    let folder = copy.path().join("solutions/01-fixture");
    for (path, content) in read_files(&plain.dir(Side::Solution)).unwrap() {
        fs::create_dir_all(folder.join(&path).parent().unwrap()).unwrap();
        fs::write(folder.join(path), content).unwrap();
    }
    let manifest = folder.join("lab.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let with = |more: &str| {
        let engine = "engine = \"engine\"\n";
        fs::write(&manifest, text.replacen(engine, &format!("{engine}{more}"), 1)).unwrap();
        Course::discover(copy.path())
    };
    let course = with(
        "on = \"embedded\"\nmodel = false\n[[image]]\nname = \"llm-lab/router\"\n[[image]]\n\
         name = \"llm-lab/engine\"\nfrom = { package = \"sol01\", bin = \"engine\", features = [\"serve\"] }\n\
         [[program]]\npackage = \"sol01\"\nbin = \"sol01-engine\"\n",
    )
    .unwrap();
    let lab = &course.labs[0];
    assert_eq!(lab.programs[0].bin, "sol01-engine");
    assert_eq!((lab.on.as_deref(), lab.needs_model), (Some("embedded"), false));
    let [own, other] = lab.images.as_slice() else { panic!("{:?}", lab.images) };
    assert_eq!((own.name.as_str(), &own.from), ("llm-lab/router", &None));
    assert_eq!(other.from.as_ref().unwrap().features, ["serve"]);
    for (more, why) in [
        ("on = \"\"\n", "on: is empty"),
        ("[[image]]\nname = \"\"\n", "image: \"\" has no name"),
        ("[[image]]\nname = \"a\"\nbin = \"b\"\n", "unknown field `bin`"),
    ] {
        let error = with(more).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn says_which_key_of_lab_toml_is_wrong_and_why() {
    let wrong = |from, to| complaint("lab.toml", from, to);
    let all = [
        wrong("number = 1", "number = 100"),
        wrong("id = \"01-fixture\"", "id = \"01-other\""),
        wrong("id = \"01-fixture\"", "id = \"1-fixture\""),
        wrong("title = \"A fixture\"", "title = \" \""),
        wrong("id = \"1.2\"", "id = \"1.1\""),
        wrong("id = \"1.2\"", "id = \"2.2\""),
        wrong("id = \"1.2\"", "id = \"two\""),
        wrong("points = 10", "points = 0"),
        wrong("points = 10", "point = 10"),
        wrong("files = [\"src/counter.rs\"]", "files = []"),
        wrong("src/counter.rs", "src/missing.rs"),
        wrong("src/counter.rs", "../counter.rs"),
        wrong("src/counter.rs", "src/tests/task_1_1.rs"),
        wrong("src/counter.rs", "src/lib.rs"),
        wrong("needs = [\"1.1\"]", "needs = [\"1.2\"]"),
        wrong("needs = [\"1.1\"]", "needs = [\"1.1\", \"1.1\"]"),
        wrong("time_limit_s = 10", "time_limit_s = 0"),
        wrong("live_time_limit_s = 60", "live_time_limit_s = 100000"),
        wrong("\"Add one.\", ", ""),
        wrong("\"Add one.\", ", "\"\", "),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn says_which_region_or_source_is_wrong() {
    let all = [
        complaint("src/counter.rs", "// ANCHOR_END: task_1_1_count\n", "\n"),
        complaint("src/counter.rs", "task_1_1_count", "task_1_2_count"),
        complaint(
            "src/lib.rs",
            "\npub mod",
            "\n// ANCHOR: task_1_7\n// ANCHOR_END: task_1_7\npub mod",
        ),
        complaint("src/lib.rs", "\npub mod", "\n// ANCHOR: task_x\n// ANCHOR_END: task_x\npub mod"),
        complaint("lab.toml", "files = [\"src/report.rs\"]", "files = [\"src/lib.rs\"]"),
        complaint("src/tests.rs", "//! Checks.", "//! Checks of sol01_fixture."),
        complaint("Cargo.toml", "[lints]", "[features]"),
        complaint("src/counter.rs", "#[must_use]", "#[must_use").lines().next().unwrap().to_owned(),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_folder_without_labs_says_so() {
    let empty = tempfile::tempdir().unwrap();
    fs::create_dir(empty.path().join("solutions")).unwrap();
    let error = Course::discover(empty.path()).unwrap_err().to_string();
    assert!(error.starts_with("no lab found") && error.ends_with("holds no lab.toml"), "{error}");
}
