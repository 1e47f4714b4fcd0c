//! How much memory there is: what this process holds, and what it may still take, of the machine, of its control group, and
//! within its own limit.

use std::fs;
use std::path::{Path, PathBuf};

/// What is taken to be available where the system does not tell: 8 GiB.
pub const ASSUMED_AVAILABLE: u64 = 8 << 30;

/// The most memory this process has held so far, in bytes; `None` where the system does not tell.
pub fn peak_resident_bytes() -> Option<u64> {
    of_process("VmHWM:")
}

/// The memory this process holds, in bytes; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    of_process("VmRSS:")
}

/// The memory that this process may still take without others being swapped out: what the machine has available, what its
/// control groups leave it, or what its limit on address space (`ulimit -v`) does, whichever is least. `None` where Linux's
/// files for it are not there.
pub fn available_bytes() -> Option<u64> {
    available_under(Path::new("/"))
}

fn of_process(field: &str) -> Option<u64> {
    Some(kibibytes(&fs::read_to_string("/proc/self/status").ok()?, field)?.saturating_mul(1024))
}

/// [`available_bytes`] with the file system's root somewhere else.
fn available_under(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let machine = kibibytes(&read("proc/meminfo")?, "MemAvailable:")?.saturating_mul(1024);
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let left = groups.lines().filter_map(|line| {
        // `0::/path` is the second version, `7:memory:/path` the first.
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let files = match controllers {
            "" => &VERSION_2,
            _ if controllers.split(',').any(|controller| controller == "memory") => &VERSION_1,
            _ => return None,
        };
        left_in_groups(&root.join(files.mount), path, files)
    });
    let limits = read("proc/self/limits").unwrap_or_default();
    // The limit in force comes first, then the one it may be raised to; `unlimited` is no number.
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space")?.split_whitespace().next()?.parse::<u64>().ok());
    let held = kibibytes(&read("proc/self/status").unwrap_or_default(), "VmSize:").unwrap_or(0).saturating_mul(1024);
    left.chain([machine]).chain(limit.map(|limit| limit.saturating_sub(held))).min()
}

/// Where a version of control groups keeps its numbers.
struct GroupFiles {
    mount: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// Field of `memory.stat`: cached files that nobody used lately, which make way when memory is asked for.
    reclaimable: &'static str,
}

const VERSION_2: GroupFiles =
    GroupFiles { mount: "sys/fs/cgroup", limit: "memory.max", usage: "memory.current", reclaimable: "inactive_file " };

const VERSION_1: GroupFiles = GroupFiles {
    mount: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file ",
};

/// What the group at `path` and every group around it leave, at least. Groups without a limit, and groups that cannot be seen
/// from inside a container, say nothing.
fn left_in_groups(mount: &Path, path: &str, files: &GroupFiles) -> Option<u64> {
    let group: PathBuf = mount.join(path.trim_start_matches('/'));
    let ancestors = group.ancestors().take_while(|group| group.starts_with(mount));
    let left = |group: &Path| {
        let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let reclaimable = stat.lines().find_map(|line| line.strip_prefix(files.reclaimable)?.trim().parse().ok());
        // `max` is no number: no limit.
        Some(number(files.limit)?.saturating_sub(number(files.usage)?.saturating_sub(reclaimable.unwrap_or(0))))
    };
    ancestors.filter_map(left).min()
}

/// The number behind `field` in the text of a file such as `/proc/meminfo`.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix("kB")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        let text = "VmPeak:\t  9 kB\nVmHWM:\t    2500 kB\nThreads: 3\n";
        assert_eq!(kibibytes(text, "VmHWM:"), Some(2500));
        assert_eq!(kibibytes(text, "Threads:"), None);
        assert_eq!(kibibytes(text, "VmSwap:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_knows_its_memory() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 0));
        assert!(resident_bytes() <= peak_resident_bytes());
        assert!(available_bytes().is_some());
    }

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    1000 kB\n")].iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_group_counts() {
        let available = |files: &[_]| available_under(root(files).path());
        assert_eq!(available(&[]), Some(1_024_000));
        // The second version: a limit on a group around ours, half of it used, of which some is cached files.
        let version_2 = [
            ("proc/self/cgroup", "0::/user/us\n"),
            ("sys/fs/cgroup/user/us/memory.max", "max\n"),
            ("sys/fs/cgroup/user/us/memory.current", "100\n"),
            ("sys/fs/cgroup/user/memory.max", "400000\n"),
            ("sys/fs/cgroup/user/memory.current", "200000\n"),
            ("sys/fs/cgroup/user/memory.stat", "anon 7\ninactive_file 50000\n"),
        ];
        assert_eq!(available(&version_2), Some(250_000));
        // The first version, in a container that sees its own group as the root.
        let version_1 = [
            ("proc/self/cgroup", "7:cpu:/x\n4:memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "500000"),
        ];
        assert_eq!(available(&version_1), Some(0));
        let unlimited = [
            ("proc/self/cgroup", "4:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "500000"),
        ];
        assert_eq!(available(&unlimited), Some(1_024_000));
    }

    #[test]
    fn the_limit_of_the_process_counts() {
        let available = |limit: &str| {
            let limits =
                format!("Limit  Soft Limit  Hard Limit  Units\nMax address space  {limit}  unlimited  bytes\n");
            let files =
                [("proc/self/limits", limits.as_str()), ("proc/self/status", "VmPeak:\t 400 kB\nVmSize:\t 300 kB\n")];
            available_under(root(&files).path())
        };
        assert_eq!(available("unlimited"), Some(1_024_000));
        assert_eq!(available("512000"), Some(512_000 - 307_200));
        assert_eq!(available("1000"), Some(0));
    }
}
