//! What a program sees of the file system: its volumes and its `/etc/hosts`, by a mount namespace of its own.
//!
//! Nothing is made on the host: where a mount point does not exist, the directory that lacks it is covered by an empty one
//! that shows the same entries, and the mount point is made there (a scaffold).

#[cfg(target_os = "linux")]
pub(super) use linux::take;

/// Elsewhere than on Linux there is one view for all.
#[cfg(not(target_os = "linux"))]
pub(super) fn take(_: &super::order::Spec) -> Result<(), String> {
    Ok(())
}

/// Whether this process may give its programs views of their own, and how.
#[cfg(target_os = "linux")]
pub(crate) fn is_possible() -> bool {
    linux::is_possible()
}

/// Elsewhere than on Linux it may not.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_possible() -> bool {
    false
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::VecDeque;
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::path::{Component, Path, PathBuf};

    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, setns, unshare};
    use nix::sys::statvfs::FsFlags;

    use crate::supervisor::order::{Mount, Spec};

    /// Links on the way to one mount point, as the kernel has it (path_resolution(7)).
    const MOST_LINKS: usize = 40;

    /// Root by the effective user, with the capability to mount (bit 21, capabilities(7)).
    pub(super) fn is_possible() -> bool {
        const SYS_ADMIN: u64 = 1 << 21;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        effective.is_some_and(|set| set & SYS_ADMIN != 0) || user_namespaces()
    }

    /// Whether a user without rights may make a user namespace.
    fn user_namespaces() -> bool {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        number("/proc/sys/user/max_user_namespaces").is_some_and(|max| max > 0)
            && number("/proc/sys/kernel/unprivileged_userns_clone") != Some(0)
            && number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").unwrap_or(0) == 0
    }

    /// Enters another program's view, or makes the one that is asked for.
    pub(in crate::supervisor) fn take(spec: &Spec) -> Result<(), String> {
        if let Some(pid) = spec.enter {
            return enter(pid);
        }
        if spec.mounts.is_empty() {
            return Ok(());
        }
        leave_host()?;
        if let Some(name) = &spec.hostname {
            // Without the right to it, the program sees the host's name.
            if unshare(CloneFlags::CLONE_NEWUTS).is_ok() {
                let _keeps_the_hosts = nix::unistd::sethostname(name);
            }
        }
        let missing = spec.mounts.iter().any(|mount| !mount.target.exists());
        let root = if missing { scaffold_root(&spec.scaffold)? } else { PathBuf::from("/") };
        // Outer mount points first, as inner ones lie in them.
        let mut mounts: Vec<&Mount> = spec.mounts.iter().collect();
        mounts.sort_by_key(|mount| mount.target.components().count());
        let mut ours: Vec<PathBuf> = missing.then(|| root.clone()).into_iter().collect();
        for mount in mounts {
            show(&root, mount, &mut ours)?;
        }
        if missing {
            nix::unistd::chroot(&root).map_err(|error| format!("new root: {error}"))?;
            std::env::set_current_dir("/").map_err(|error| format!("new root: {error}"))?;
        }
        Ok(())
    }

    fn enter(pid: u32) -> Result<(), String> {
        let open = |name: &str| {
            let path = format!("/proc/{pid}/ns/{name}");
            fs::File::open(&path).map_err(|error| format!("{path}: {error}"))
        };
        let same = |name: &str| {
            let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).ok();
            link("self") == link(&pid.to_string())
        };
        // Opened before the first step, after which they may be out of sight.
        let root = fs::File::open(format!("/proc/{pid}/root")).map_err(|e| e.to_string())?;
        let names = [
            ("user", CloneFlags::CLONE_NEWUSER),
            ("uts", CloneFlags::CLONE_NEWUTS),
            ("mnt", CloneFlags::CLONE_NEWNS),
        ];
        let mut files = Vec::new();
        for (name, flag) in names {
            if !same(name) {
                files.push((name, flag, open(name)?));
            }
        }
        for (name, flag, file) in files {
            setns(file, flag).map_err(|error| format!("enter the {name} namespace: {error}"))?;
        }
        nix::unistd::fchdir(&root)
            .and_then(|()| nix::unistd::chroot("."))
            .map_err(|error| format!("enter the root directory: {error}"))
    }

    /// A mount namespace of its own; for a user without rights inside a user namespace of the same user.
    fn leave_host() -> Result<(), String> {
        if unshare(CloneFlags::CLONE_NEWNS).is_err() {
            let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
                .map_err(|error| format!("a mount namespace of its own: {error}"))?;
            let write = |name: &str, text: String| {
                fs::write(format!("/proc/self/{name}"), text)
                    .map_err(|error| format!("{name}: {error}"))
            };
            write("setgroups", "deny".to_owned())?;
            write("uid_map", format!("{user} {user} 1"))?;
            write("gid_map", format!("{group} {group} 1"))?;
        }
        // Nothing that is mounted here may show on the host.
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&Path>, "/", None::<&str>, flags, None::<&str>)
            .map_err(|error| format!("private mounts: {error}"))
    }

    fn scaffold_root(dir: &Path) -> Result<PathBuf, String> {
        cover(Path::new("/"), dir)?;
        Ok(dir.to_owned())
    }

    /// Mounts an empty file system on `at` that shows the entries of `of`.
    fn cover(of: &Path, at: &Path) -> Result<(), String> {
        let told = |what: String| move |error: std::io::Error| format!("{what}: {error}");
        let entries: Vec<_> = fs::read_dir(of)
            .map_err(told(of.display().to_string()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect();
        // What is being covered stays reachable through an open file.
        let hold = fs::File::open(of).map_err(told(of.display().to_string()))?;
        let before = PathBuf::from(format!("/proc/self/fd/{}", hold.as_raw_fd())).join(".");
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .map_err(|error| format!("cover {}: {error}", of.display()))?;
        for entry in entries {
            let Some(name) = entry.file_name() else { continue };
            let (old, new) = (before.join(name), at.join(name));
            let Ok(about) = fs::symlink_metadata(&old) else { continue };
            if about.is_symlink() {
                let Ok(to) = fs::read_link(&old) else { continue };
                let _shown_as_missing = std::os::unix::fs::symlink(to, &new);
                continue;
            }
            let made = if about.is_dir() { fs::create_dir(&new) } else { fs::write(&new, "") };
            if made.is_ok() {
                // What cannot be shown is missing, as it would be in an image.
                let _shown_as_empty = bind(&old, &new);
            }
        }
        drop(hold);
        Ok(())
    }

    fn bind(from: &Path, to: &Path) -> Result<(), String> {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(from), to, None::<&str>, flags, None::<&str>)
            .map_err(|error| format!("mount {}: {error}", to.display()))
    }

    /// Makes a mount visible at its target below `root`. `ours`: directories in which mount points may be made.
    fn show(root: &Path, what: &Mount, ours: &mut Vec<PathBuf>) -> Result<(), String> {
        let target = below(root, &what.target)?;
        if !target.exists() {
            make(root, &target, what.source.is_dir(), ours)?;
        }
        bind(&what.source, &target)?;
        if what.read_only {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            let flags = flags | locked(&target)?;
            mount(None::<&Path>, &target, None::<&str>, flags, None::<&str>)
                .map_err(|error| format!("mount {} read-only: {error}", what.target.display()))?;
        }
        // As container runtimes do, a mount point inside a volume is made in the volume.
        ours.push(target);
        Ok(())
    }

    /// What a mount forbids already: in a user namespace, whoever mounts it anew may not leave these out
    /// (mount_namespaces(7), restrictions).
    fn locked(at: &Path) -> Result<MsFlags, String> {
        let about = nix::sys::statvfs::statvfs(at);
        let about = about.map_err(|error| format!("flags of mount {}: {error}", at.display()))?;
        let pairs = [
            (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
            (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
            (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
            (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
            (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
            (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
        ];
        let set = pairs.into_iter().filter(|(flag, _)| about.flags().contains(*flag));
        Ok(set.map(|(_, flag)| flag).collect())
    }

    /// Makes a mount point, after covering the deepest directory that exists if it is the host's.
    fn make(
        root: &Path,
        target: &Path,
        is_dir: bool,
        ours: &mut Vec<PathBuf>,
    ) -> Result<(), String> {
        let existing = target.ancestors().find(|path| path.exists()).unwrap_or(root).to_owned();
        if !ours.contains(&existing) {
            cover(&existing, &existing)?;
            ours.push(existing.clone());
        }
        let told = |error: std::io::Error| format!("mount point {}: {error}", target.display());
        let parent = if is_dir { target } else { target.parent().unwrap_or(root) };
        fs::create_dir_all(parent).map_err(told)?;
        let made = parent.ancestors().take_while(|path| *path != existing);
        ours.extend(made.map(Path::to_owned));
        if is_dir { Ok(()) } else { fs::write(target, "").map_err(told) }
    }

    /// `target` below `root`, without a way out of it: links on the way lead where they will once `root` is the root. `/var/run` is
    /// one on most machines, to `/run`.
    fn below(root: &Path, target: &Path) -> Result<PathBuf, String> {
        let told = |why: &str| format!("mount point {}: {why}", target.display());
        if target.components().any(|part| part == Component::ParentDir) {
            return Err(told("has '..'"));
        }
        let mut path = root.to_owned();
        let mut rest: VecDeque<PathBuf> = parts(target).collect();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part.as_os_str() == ".." {
                if path != root {
                    path.pop();
                }
                continue;
            }
            let next = path.join(&part);
            let Ok(to) = fs::read_link(&next) else {
                path = next;
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(told("too many links"));
            }
            if to.is_absolute() {
                path = root.to_owned();
            }
            rest = parts(&to).chain(rest).collect();
        }
        Ok(path)
    }

    /// The names in a path, and its steps upwards.
    fn parts(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
        let named =
            |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
        let all: Vec<PathBuf> =
            path.components().filter(named).map(|part| PathBuf::from(part.as_os_str())).collect();
        all.into_iter()
    }

    #[cfg(test)]
    mod tests {
        use std::os::unix::fs::symlink;

        use super::*;

        #[test]
        fn a_mount_point_behind_a_link_is_where_the_link_leads_inside() {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            fs::create_dir_all(root.join("var/lib")).unwrap();
            symlink("/run", root.join("var/run")).unwrap();
            symlink("../../up", root.join("var/lib/near")).unwrap();
            symlink("loop", root.join("var/loop")).unwrap();
            let at = |target: &str| below(root, Path::new(target));
            assert_eq!(at("/var/run/llm-lab/faults").unwrap(), root.join("run/llm-lab/faults"));
            assert_eq!(at("/var/lib/near/a").unwrap(), root.join("up/a"));
            assert_eq!(at("/etc/new").unwrap(), root.join("etc/new"));
            assert!(at("/var/loop").unwrap_err().contains("too many links"));
            assert!(at("/var/../etc").unwrap_err().contains("has '..'"));
        }
    }
}
