//! Which paths stand for standard input and output, named pipes and devices.

use std::path::Path;

use file_id::get_file_id;
use files::place::Place;

/// What systems call standard input and output as files.
pub(super) const STDIN: &str = "/dev/stdin";
pub(super) const STDOUT: &str = "/dev/stdout";

/// Whether it stands for standard input or output.
pub(super) fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whether a clip at this path goes where standard output does.
pub(super) fn is_stdout(path: &Path) -> bool {
    let ids = || Some((get_file_id(path).ok()?, get_file_id(STDOUT).ok()?));
    let is_null = || matches!(Place::of(path), Ok(Place::Null));
    is_dash(path) || (ids().is_some_and(|(path, stdout)| path == stdout) && !is_null())
}

/// Whether a clip at this path is handed on frame by frame.
pub(super) fn is_stream(path: &Path) -> bool {
    is_stdout(path) || matches!(Place::of(path), Ok(Place::Pipe | Place::Device | Place::Null))
}
