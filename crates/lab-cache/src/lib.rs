//! The folder in which the course keeps what outlives its builds: models, and what measuring this machine found out.
//!
//! Knows where things lie, and nothing of what is in them.

use std::path::PathBuf;

/// Names a folder to use instead of the system's.
pub const VARIABLE: &str = "LLM_LAB_CACHE";
/// Its name in the system's cache folder.
const NAME: &str = "llm-systems-lab";

/// `$LLM_LAB_CACHE`, else `llm-systems-lab` in the system's cache folder; `None` where the environment names neither
/// that nor a home.
#[must_use]
pub fn root() -> Option<PathBuf> {
    root_in(|name| std::env::var_os(name).map(PathBuf::from))
}

/// What measuring this machine found out, or would be.
#[must_use]
pub fn calibration() -> Option<PathBuf> {
    root().map(|root| root.join("calibration").join("cpu.json"))
}

fn root_in(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|path| !path.as_os_str().is_empty());
    if let Some(root) = set(VARIABLE) {
        return Some(root);
    }
    let home = set("HOME");
    let system = if cfg!(target_os = "macos") {
        home.map(|home| home.join("Library/Caches"))
    } else if cfg!(windows) {
        set("LOCALAPPDATA")
    } else {
        // The XDG specification: a relative path is to be ignored.
        let xdg = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        xdg.or_else(|| home.map(|home| home.join(".cache")))
    };
    system.map(|folder| folder.join(NAME))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_cache_is_where_the_environment_says() {
        let root_with = |variables: &[(&str, &str)]| {
            root_in(|name| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| PathBuf::from(value))
            })
        };
        let rule = |variables: &[(&str, &str)]| root_with(variables).unwrap();
        let home = ("HOME", "/home/ada");
        assert_eq!(rule(&[("LLM_LAB_CACHE", "/big"), home]), Path::new("/big"));
        let xdg = ("XDG_CACHE_HOME", "/var/xdg");
        assert_eq!(rule(&[xdg, home]), Path::new("/var/xdg/llm-systems-lab"));
        let expected = Path::new("/home/ada/.cache/llm-systems-lab");
        assert_eq!(rule(&[home]), expected);
        assert_eq!(rule(&[("LLM_LAB_CACHE", ""), ("XDG_CACHE_HOME", "x"), home]), expected);
        assert_eq!(root_with(&[]), None);
    }
}
