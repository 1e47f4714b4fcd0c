//! What control groups leave of memory, of the first version and the second: the group of this
//! process and every group around it that can be seen.
//!
//! What a group uses counts without the cached files and the kernel's own caches that make way when
//! memory is asked for, used lately or not. A limit that throttles (`memory.high`) counts like one
//! that kills. Where the hierarchies are mounted, and which part of them, `/proc/self/mountinfo`
//! tells: a container may see its own group as the root, or paths in `/proc/self/cgroup` that no
//! mount of its own has.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Which version of control groups, and with that the names of its files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// Files with a limit in bytes, or with a word where there is none.
    fn limits(self) -> &'static [&'static str] {
        match self {
            Version::One => &["memory.limit_in_bytes"],
            Version::Two => &["memory.max", "memory.high"],
        }
    }

    /// The file with the bytes in use, caches included.
    fn usage(self) -> &'static str {
        match self {
            Version::One => "memory.usage_in_bytes",
            Version::Two => "memory.current",
        }
    }

    /// Fields of `memory.stat`: bytes that make way when memory is asked for.
    fn reclaimable(self) -> &'static [&'static str] {
        match self {
            Version::One => &["total_inactive_file", "total_active_file"],
            Version::Two => &["inactive_file", "active_file", "slab_reclaimable"],
        }
    }

    /// Where it is mounted by custom, under the file system's root.
    fn customary(self) -> &'static [&'static str] {
        match self {
            Version::One => &["/sys/fs/cgroup/memory"],
            Version::Two => &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
        }
    }
}

/// A mounted hierarchy, or a part of one.
struct Mount {
    version: Version,
    /// The group that is seen at `point`.
    group: PathBuf,
    /// Where it is mounted.
    point: PathBuf,
}

impl Mount {
    /// Where the group of this path is, if it is below this mount.
    fn folder(&self, group: &Path) -> Option<PathBuf> {
        let below = group.strip_prefix(&self.group).ok()?;
        below.components().all(|part| matches!(part, Component::Normal(_))).then(|| self.point.join(below))
    }
}

/// The bytes that this process's groups leave it, at least; `None` where no group has a limit, or
/// none can be seen. `root` is the file system's.
pub(super) fn bytes_left(root: &Path) -> Option<u64> {
    let mounts = mounts(&read(&root.join("proc/self/mountinfo")));
    let memberships = read(&root.join("proc/self/cgroup"));
    let left = memberships.lines().filter_map(|line| {
        // `0::/path` is the second version, `7:memory:/path` the first.
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let version = match controllers {
            "" => Version::Two,
            _ if controllers.split(',').any(|controller| controller == "memory") => Version::One,
            _ => return None,
        };
        left_in_hierarchy(root, &mounts, version, Path::new(group))
    });
    left.min()
}

/// What the group of this path and those around it leave, by every mount that shows them.
fn left_in_hierarchy(root: &Path, mounts: &[Mount], version: Version, group: &Path) -> Option<u64> {
    let mut mounts: Vec<&Mount> = mounts.iter().filter(|mount| mount.version == version).collect();
    let customary: Vec<Mount> =
        version.customary().iter().map(|point| Mount { version, group: "/".into(), point: point.into() }).collect();
    if mounts.is_empty() {
        mounts.extend(&customary);
    }
    let mut shown: Vec<(&Mount, PathBuf)> =
        mounts.iter().filter_map(|mount| Some((*mount, mount.folder(group)?))).collect();
    if shown.is_empty() {
        // A path from outside of what is mounted here: what is seen at the mount is around us all
        // the same.
        shown.extend(mounts.into_iter().map(|mount| (mount, mount.point.clone())));
    }
    let under_root = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let left = shown.iter().filter_map(|(mount, folder)| {
        let (point, own) = (under_root(&mount.point), under_root(folder));
        let groups = own.ancestors().take_while(|group| group.starts_with(&point));
        groups.filter(|group| **group == own || counts_children(group)).filter_map(|group| left(group, version)).min()
    });
    left.min()
}

/// Whether a group's limit is one of the groups in it too: in the first version that could be
/// chosen.
fn counts_children(group: &Path) -> bool {
    read(&group.join("memory.use_hierarchy")).trim() != "0"
}

/// What a group leaves of its limits.
fn left(group: &Path, version: Version) -> Option<u64> {
    let number = |file: &str| read(&group.join(file)).trim().parse::<u64>().ok();
    let stat = read(&group.join("memory.stat"));
    let field = |name: &str| {
        let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
        lines.find_map(|(found, value)| (found == name).then(|| value.trim().parse::<u64>().ok())?)
    };
    let limits = version.limits().iter().filter_map(|file| number(file));
    // Of the first version: the tightest limit around it, those of groups that cannot be seen from
    // here included.
    let limit = limits.chain(field("hierarchical_memory_limit")).min()?;
    let reclaimable = version.reclaimable().iter().filter_map(|name| field(name)).fold(0, u64::saturating_add);
    let used = number(version.usage()).unwrap_or(0).saturating_sub(reclaimable);
    Some(limit.saturating_sub(used))
}

/// The hierarchies with memory in them that a text such as `/proc/self/mountinfo` tells of.
fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (group, point) = (unescaped(left.next()?), unescaped(left.next()?));
        let mut right = right.split(' ');
        let version = match right.next()? {
            "cgroup2" => Version::Two,
            "cgroup" if right.nth(1)?.split(',').any(|option| option == "memory") => Version::One,
            _ => return None,
        };
        Some(Mount { version, group: group.into(), point: point.into() })
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// The kernel writes spaces and the like in a path as `\040`.
fn unescaped(path: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.into_iter().fold(path.to_owned(), |path, (escape, plain)| path.replace(escape, plain))
}

/// A file's text; none where it cannot be read.
fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left with these files.
    fn left_with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        bytes_left(root.path())
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_tightest_group_counts() {
        assert_eq!(left_with(&[]), None);
        // A limit on a group around ours.
        let version_2 = [
            ("proc/self/cgroup", "0::/user/us\n"),
            ("sys/fs/cgroup/user/us/memory.max", "max\n"),
            ("sys/fs/cgroup/user/us/memory.current", "100\n"),
            ("sys/fs/cgroup/user/memory.max", "400000\n"),
            ("sys/fs/cgroup/user/memory.current", "200000\n"),
            ("sys/fs/cgroup/user/memory.stat", "anon 7\ninactive_file 50000\n"),
        ];
        assert_eq!(left_with(&version_2), Some(250_000));
        let own = [("sys/fs/cgroup/user/us/memory.max", "150\n")];
        assert_eq!(left_with(&[&version_2[..1], &own, &version_2[2..]].concat()), Some(50));
        // The first version, in a container that sees its own group as the root.
        let version_1 = [
            ("proc/self/cgroup", "7:cpu:/x\n4:memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "500000"),
        ];
        assert_eq!(left_with(&version_1), Some(0));
        // The first version tells of limits that are out of sight; a group may not have counted
        // those in it.
        let nested = [
            ("proc/self/cgroup", "4:cpu,memory:/a/b\n"),
            ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712"),
            ("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "1000"),
            ("sys/fs/cgroup/memory/a/b/memory.stat", "hierarchical_memory_limit 70000\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "500"),
            ("sys/fs/cgroup/memory/a/memory.use_hierarchy", "0\n"),
        ];
        assert_eq!(left_with(&nested), Some(69_000));
        assert_eq!(left_with(&nested[..5]), Some(500));
    }

    #[test]
    fn what_the_kernel_would_give_back_is_not_used() {
        let bytes = |mib: u64| (mib * MIB).to_string();
        let stat = format!(
            "anon {}\nfile 0\ninactive_file {}\nactive_file {}\nslab_reclaimable {}\nslab_unreclaimable 9\n",
            20 * MIB,
            200 * MIB,
            130 * MIB,
            5 * MIB
        );
        let files = |limits: [&str; 2]| {
            left_with(&[
                ("proc/self/cgroup", "0::/c\n"),
                ("sys/fs/cgroup/c/memory.max", limits[0]),
                ("sys/fs/cgroup/c/memory.high", limits[1]),
                ("sys/fs/cgroup/c/memory.current", &bytes(360)),
                ("sys/fs/cgroup/c/memory.stat", &stat),
            ])
        };
        assert_eq!(files([&bytes(400), "max\n"]), Some(375 * MIB));
        assert_eq!(files(["max", &bytes(300)]), Some(275 * MIB));
        assert_eq!(files([&bytes(400), &bytes(300)]), Some(275 * MIB));
        assert_eq!(files(["max\n", "max\n"]), None);

        // Fields without `total_` are of the group without those in it.
        let stat = format!(
            "inactive_file 1\nactive_file 2\ntotal_inactive_file {}\ntotal_active_file {}\n",
            30 * MIB,
            300 * MIB
        );
        let version_1 = [
            ("proc/self/cgroup", "4:memory:/c\n"),
            ("sys/fs/cgroup/memory/c/memory.limit_in_bytes", &bytes(400)),
            ("sys/fs/cgroup/memory/c/memory.usage_in_bytes", &bytes(390)),
            ("sys/fs/cgroup/memory/c/memory.stat", &stat),
        ];
        assert_eq!(left_with(&version_1), Some(340 * MIB));
    }

    #[test]
    fn groups_are_found_where_they_are_mounted() {
        let limit = |folder: &str, limit: u64| (format!("{folder}/memory.max"), limit.to_string());
        let left = |mountinfo: &str, group: &str, limits: &[(String, String)]| {
            let group = format!("0::{group}\n");
            let mut files = vec![("proc/self/mountinfo", mountinfo), ("proc/self/cgroup", group.as_str())];
            files.extend(limits.iter().map(|(file, limit)| (file.as_str(), limit.as_str())));
            left_with(&files)
        };
        // Both versions side by side, the second without controllers or with them.
        let hybrid = "25 1 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n26 25 0:23 / /sys/fs/cgroup/unified rw shared:9 \
                      - cgroup2 cgroup2 rw\n";
        assert_eq!(left(hybrid, "/a", &[limit("sys/fs/cgroup/unified/a", 7), limit("sys/fs/cgroup/a", 3)]), Some(7));
        // A folder with a space in its name, and a part of the hierarchy: the container's own.
        let part = "30 1 0:23 /docker/abc /my\\040groups rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let limits = [limit("my groups", 70), limit("my groups/sub", 60), limit("my groups/docker/abc", 1)];
        assert_eq!(left(part, "/docker/abc", &limits), Some(70));
        assert_eq!(left(part, "/docker/abc/sub", &limits), Some(60));
        // Paths from outside of the mount, by a namespace or without one.
        for outside in ["/", "/../../other", "/elsewhere", "/docker/abcdef"] {
            assert_eq!(left(part, outside, &limits), Some(70), "{outside}");
        }
        let namespace = "30 1 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        let limits = [limit("sys/fs/cgroup", 90), limit("sys/fs/outside", 1)];
        assert_eq!(left(namespace, "/../outside", &limits), Some(90));
        // The first version beside another controller.
        let together =
            "31 1 0:24 / /cg/both rw - cgroup cgroup rw,cpu,memory\n32 1 0:25 / /cg/cpu rw - cgroup cgroup rw,cpuset\n";
        let files = [
            ("proc/self/mountinfo", together),
            ("proc/self/cgroup", "3:cpuset:/x\n2:cpu,memory:/x\n"),
            ("cg/both/x/memory.limit_in_bytes", "40"),
            ("cg/cpu/x/memory.limit_in_bytes", "4"),
        ];
        assert_eq!(left_with(&files), Some(40));
    }
}
