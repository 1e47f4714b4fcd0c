//! How much memory there is: what this process holds, and what it may still take, of the machine,
//! of its control groups (see `control_groups`), and within its own limit.

mod control_groups;

use std::fs;
use std::path::Path;

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

/// The memory that this process may still take without others being swapped out: what the machine
/// has available, what its control groups leave it, or what its limit on address space (`ulimit
/// -v`) does, whichever is least. `None` where Linux's files for it are not there.
pub fn available_bytes() -> Option<u64> {
    available_under(Path::new("/"))
}

fn of_process(field: &str) -> Option<u64> {
    Some(kibibytes(&fs::read_to_string("/proc/self/status").ok()?, field)?.saturating_mul(1024))
}

/// [`available_bytes`] with the file system's root somewhere else.
fn available_under(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let machine = of_machine(&read("proc/meminfo")?)?;
    let limits = read("proc/self/limits").unwrap_or_default();
    // The limit in force comes first, then the one it may be raised to; `unlimited` is no number.
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space")?.split_whitespace().next()?.parse::<u64>().ok());
    let held = kibibytes(&read("proc/self/status").unwrap_or_default(), "VmSize:").unwrap_or(0).saturating_mul(1024);
    let own = limit.map(|limit| limit.saturating_sub(held));
    [Some(machine), control_groups::bytes_left(root), own].into_iter().flatten().min()
}

/// What the machine has available, by the text of `/proc/meminfo`; before Linux 3.14 the parts of
/// it that are told.
fn of_machine(meminfo: &str) -> Option<u64> {
    let parts = || {
        let parts = ["MemFree:", "Buffers:", "Cached:"].map(|field| kibibytes(meminfo, field));
        parts.into_iter().flatten().reduce(u64::saturating_add)
    };
    kibibytes(meminfo, "MemAvailable:").or_else(parts).map(|available| available.saturating_mul(1024))
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
    fn the_machine_and_its_groups_count() {
        let available = |files: &[_]| available_under(root(files).path());
        assert_eq!(available(&[]), Some(1_024_000));
        let group = |limit: &'static str| {
            available(&[
                ("proc/self/cgroup", "4:memory:/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", limit),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "500000"),
            ])
        };
        assert_eq!(group("900000"), Some(400_000));
        assert_eq!(group("9223372036854771712"), Some(1_024_000));
        let old = [("proc/meminfo", "MemTotal: 9 kB\nMemFree: 3 kB\nBuffers: 1 kB\nCached: 2 kB\n")];
        assert_eq!(available(&old), Some(6 * 1024));
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
