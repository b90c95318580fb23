//! The files of an image that holds one program: itself, its loader, its libraries, nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the program is called in the image, whichever it is.
const PROGRAM: &str = "program";
/// The recipe, below the repository's root.
const DOCKERFILE: &str = "clusters/images/Dockerfile";

/// Why no files were staged.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file.
    #[error("{path}: {cause}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The program's libraries cannot be listed.
    #[error("ldd {path}: {why}", path = path.display())]
    Libraries {
        /// The program.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// A folder that `docker build` takes.
#[derive(Debug)]
pub struct Staged {
    /// The folder.
    pub context: PathBuf,
    /// The files in the image, as paths in it.
    pub files: BTreeSet<PathBuf>,
    /// Their size together, in bytes.
    pub bytes: u64,
}

/// Puts the recipe, the program and all that it needs to start into the folder `context`, which is emptied first. A program that
/// is linked statically needs nothing.
///
/// # Errors
/// [`ImageError`].
pub fn stage(root: &Path, program: &Path, context: &Path) -> Result<Staged, ImageError> {
    let rootfs = context.join("rootfs");
    if context.exists() {
        fs::remove_dir_all(context).map_err(at(context))?;
    }
    fs::create_dir_all(&rootfs).map_err(at(&rootfs))?;
    let recipe = context.join("Dockerfile");
    fs::copy(root.join(DOCKERFILE), &recipe).map_err(at(&recipe))?;
    let mut staged = Staged { context: context.to_owned(), files: BTreeSet::new(), bytes: 0 };
    staged.put(&rootfs, program, Path::new("/").join(PROGRAM), 0o755)?;
    strip(&rootfs.join(PROGRAM));
    for library in libraries(program)? {
        staged.put(&rootfs, &library, library.clone(), 0o755)?;
    }
    for file in &staged.files {
        let path = inside(&rootfs, file);
        staged.bytes += fs::metadata(&path).map_err(at(&path))?.len();
    }
    Ok(staged)
}

impl Staged {
    fn put(
        &mut self,
        rootfs: &Path,
        from: &Path,
        to: PathBuf,
        mode: u32,
    ) -> Result<(), ImageError> {
        let target = inside(rootfs, &to);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        // What the name leads to, not the link itself.
        fs::copy(from, &target).map_err(at(from))?;
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).map_err(at(&target))?;
        self.files.insert(to);
        Ok(())
    }
}

fn inside(rootfs: &Path, path: &Path) -> PathBuf {
    rootfs.join(path.strip_prefix("/").unwrap_or(path))
}

/// Takes names and line tables off where `strip` is there: an image is smaller by half without.
fn strip(program: &Path) {
    let quiet =
        Command::new("strip").arg(program).stdout(Stdio::null()).stderr(Stdio::null()).status();
    drop(quiet);
}

/// The loader and the libraries, under the paths by which the program asks for them.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>, ImageError> {
    let trouble = |why: String| ImageError::Libraries { path: program.to_owned(), why };
    let output =
        Command::new("ldd").arg(program).output().map_err(|error| trouble(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if text.contains("statically linked") || errors.contains("not a dynamic executable") {
        return Ok(BTreeSet::new());
    }
    if !output.status.success() {
        return Err(trouble(errors.trim().to_owned()));
    }
    if let Some(missing) = text.lines().find(|line| line.contains("not found")) {
        return Err(trouble(missing.trim().to_owned()));
    }
    Ok(paths(&text))
}

/// Absolute paths in what `ldd` prints: `name => /path (address)`, or `/path (address)` for the loader.
fn paths(text: &str) -> BTreeSet<PathBuf> {
    let words = text.lines().filter_map(|line| {
        let path = line.split_once("=>").map_or(line, |(_, path)| path);
        path.split_whitespace().next().filter(|word| word.starts_with('/'))
    });
    words.map(PathBuf::from).collect()
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> ImageError + use<> {
    let path = path.to_owned();
    move |cause| ImageError::File { path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_and_every_library_are_found() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibgcc_s.so.1 => /lib/x/libgcc_s.so.1 (0x2)\n\
                    \tlibc.so.6 => /lib/x/libc.so.6 (0x3)\n\t/lib64/ld-linux-x86-64.so.2 (0x4)\n";
        let found: Vec<PathBuf> = paths(text).into_iter().collect();
        let wanted = ["/lib/x/libc.so.6", "/lib/x/libgcc_s.so.1", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(found, wanted.map(PathBuf::from));
    }

    #[test]
    fn a_staged_program_runs_with_what_is_staged_alone() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let name = format!("lab-stage-{}", std::process::id());
        let context = std::env::temp_dir().join(name);
        let this = std::env::current_exe().expect("a path");
        let staged = stage(&root, &this, &context).expect("staged");
        assert!(staged.files.contains(Path::new("/program")) && staged.bytes > 0);
        assert!(context.join("Dockerfile").is_file());
        let loader = staged.files.iter().find(|file| file.to_string_lossy().contains("/ld-"));
        if let Some(loader) = loader {
            let rootfs = context.join("rootfs");
            let folders = staged.files.iter().filter_map(|file| file.parent());
            let folders: BTreeSet<String> =
                folders.map(|folder| inside(&rootfs, folder).display().to_string()).collect();
            let path = folders.into_iter().collect::<Vec<_>>().join(":");
            let output = Command::new(inside(&rootfs, loader))
                .args(["--inhibit-cache", "--library-path", &path])
                .arg(rootfs.join(PROGRAM))
                .arg("--list")
                .output()
                .expect("it starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        fs::remove_dir_all(context).expect("removed");
    }
}
