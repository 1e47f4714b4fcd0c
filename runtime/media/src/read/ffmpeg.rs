//! Clips that are not decoded here, through an `ffmpeg` on the PATH: it writes portable pixmaps to
//! a pipe.
//!
//! A pixmap says its own size, so that nothing need be known of the clip beforehand. The child gets
//! its arguments as they are (no shell), may open nothing but the file, stops at the first error,
//! and is killed when the reader is dropped.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use super::pictures::{PictureShape, PictureSource};
use super::reader::check_size;
use crate::error::{Error, Result, bad, unsupported};
use crate::frame_rate::FrameRate;

/// Lines of the child's complaints that are kept for the message, the last ones, and how long one
/// may be.
const COMPLAINTS: usize = 3;
const MAX_COMPLAINT: u64 = 400;
/// Head of a file in which the kind of its video is looked for.
const HEAD: u64 = 1 << 16;
/// A line of a pixmap's head, at most.
const MAX_LINE: u64 = 64;

/// How it is asked for each frame of the clip once, however long the clip shows it: in the words of
/// versions from 5.1 on, and of those before 9.
const EVERY_FRAME_ONCE: [[&str; 2]; 2] = [["-fps_mode", "passthrough"], ["-vsync", "passthrough"]];

/// Who decodes what is not decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    /// An `ffmpeg` on the PATH.
    Ffmpeg,
    /// Nobody.
    None,
}

impl Fallback {
    /// The clip at `path`, which is not decoded here for this reason.
    pub(super) fn open(self, path: &Path, reason: &str) -> Result<Ffmpeg> {
        match self {
            Fallback::Ffmpeg => Ffmpeg::open(path, reason),
            Fallback::None => Err(unsupported(path, reason)),
        }
    }
}

pub(super) struct Ffmpeg {
    path: PathBuf,
    child: Child,
    pixels: BufReader<ChildStdout>,
    complaints: Option<JoinHandle<VecDeque<String>>>,
    shape: PictureShape,
    /// Whether the first picture's head has been read and its pixels have not.
    at_pixels: bool,
    done: usize,
}

impl Ffmpeg {
    /// Starts the child. `reason` says why it is needed: what the clip is.
    pub(super) fn open(path: &Path, reason: &str) -> Result<Ffmpeg> {
        Ffmpeg::start("ffmpeg", "ffprobe", path, reason)
    }

    fn start(ffmpeg: &str, ffprobe: &str, path: &Path, reason: &str) -> Result<Ffmpeg> {
        let [new, old] = EVERY_FRAME_ONCE;
        let mut clip = match Ffmpeg::decode(ffmpeg, new, path, reason) {
            Err(Error::BadClip { problem, .. }) if problem.contains("Unrecognized option 'fps_mode'") => {
                Ffmpeg::decode(ffmpeg, old, path, reason)?
            }
            other => other?,
        };
        clip.shape.rate = rate_by_ffprobe(ffprobe, path).or_else(|| rate_by_ffmpeg(ffmpeg, path));
        Ok(clip)
    }

    /// Starts the child with the option by which it returns each frame once, and reads the first
    /// picture's head.
    fn decode(ffmpeg: &str, every_frame_once: [&str; 2], path: &Path, reason: &str) -> Result<Ffmpeg> {
        let child = Command::new(ffmpeg)
            .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-xerror", "-protocol_whitelist", "file", "-i"])
            .arg(source(path))
            // The first track of video that is no picture beside a clip: no cover, no pictures of
            // chapters.
            .args(["-map", "0:V:0"])
            .args(every_frame_once)
            // Times that grow by the unit they are counted in: some versions complain of others,
            // which no pixmap has.
            .args(["-vf", "settb=1/25,setpts=N", "-enc_time_base", "1/25"])
            .args(["-sws_flags", "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"])
            .args(["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|cause| {
            let kind = kind(path).map(|kind| format!(" ({kind})")).unwrap_or_default();
            match cause.kind() {
                ErrorKind::NotFound => unsupported(path, format!("{reason}{kind}; {}", advice(path))),
                _ => unsupported(path, format!("{reason}{kind}, and ffmpeg cannot be started: {cause}")),
            }
        })?;
        let (Some(pixels), Some(complaints)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(unsupported(path, "ffmpeg has no output"));
        };
        let complaints = Some(thread::spawn(move || last_lines(complaints)));
        let shape = PictureShape { width: 0, height: 0, frames: None, rate: None };
        let pixels = BufReader::with_capacity(1 << 16, pixels);
        let mut clip = Ffmpeg { path: path.into(), child, pixels, complaints, shape, at_pixels: false, done: 0 };
        match clip.head()? {
            Some((width, height)) => {
                check_size(path, width, height)?;
                (clip.shape.width, clip.shape.height) = (width as usize, height as usize);
                clip.at_pixels = true;
                Ok(clip)
            }
            None => Err(bad(path, "it has no frames")),
        }
    }

    /// Reads the head of a picture; `None` if the child is done.
    fn head(&mut self) -> Result<Option<(u64, u64)>> {
        let mut line = || -> io::Result<String> {
            let mut bytes = vec![];
            (&mut self.pixels).take(MAX_LINE).read_until(b'\n', &mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).trim_end().to_string())
        };
        let lines =
            line().and_then(|magic| if magic.is_empty() { Ok(None) } else { Ok(Some([magic, line()?, line()?])) });
        let [magic, size, depth] = match lines {
            Ok(Some(lines)) => lines,
            Ok(None) => return self.end().map(|()| None),
            Err(cause) => return Err(self.failed(&cause.to_string())),
        };
        let size = size.split_once(' ').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
        match size {
            Some(size) if magic == "P6" && depth == "255" => Ok(Some(size)),
            _ => Err(self.failed("what it returned is no picture")),
        }
    }

    /// Waits for the child, which has closed its output. Of a file that is cut off it only
    /// complains: that is an error too.
    fn end(&mut self) -> Result<()> {
        let problem = match self.child.wait() {
            Ok(status) if status.success() => String::new(),
            Ok(status) => status.to_string(),
            Err(cause) => cause.to_string(),
        };
        let complaints = self.complaints();
        match problem.is_empty() && complaints.is_empty() {
            true => Ok(()),
            false => Err(self.failure(&problem, &complaints)),
        }
    }

    /// The child's last words; it must have ended, or be about to.
    fn complaints(&mut self) -> String {
        let lines = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Vec::from(lines).join("; ")
    }

    /// What went wrong in the child's own words, which is stopped.
    fn failed(&mut self, problem: &str) -> Error {
        self.stop();
        let complaints = self.complaints();
        self.failure(problem, &complaints)
    }

    fn failure(&self, problem: &str, complaints: &str) -> Error {
        let said = if complaints.is_empty() { problem } else { complaints };
        bad(&self.path, format!("ffmpeg failed at frame {}: {said}", self.done))
    }

    fn stop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        self.stop();
    }
}

impl PictureSource for Ffmpeg {
    fn shape(&self) -> PictureShape {
        self.shape
    }

    fn next(&mut self, rgb: &mut Vec<u8>) -> Result<bool> {
        if !std::mem::take(&mut self.at_pixels) {
            let Some((width, height)) = self.head()? else { return Ok(false) };
            if (width, height) != (self.shape.width as u64, self.shape.height as u64) {
                let (before, frame) = (self.shape, self.done);
                let problem = format!(
                    "frame {frame} is {width}x{height} (width x height), those before are {}x{}",
                    before.width, before.height
                );
                return Err(bad(&self.path, problem));
            }
        }
        rgb.resize(self.shape.width * self.shape.height * 3, 0);
        if let Err(cause) = self.pixels.read_exact(rgb) {
            return Err(self.failed(&cause.to_string()));
        }
        self.done += 1;
        Ok(true)
    }
}

/// Reads all that the child says, so that it is never kept waiting, and keeps the end of it.
fn last_lines(complaints: ChildStderr) -> VecDeque<String> {
    let mut complaints = BufReader::new(complaints);
    let mut kept = VecDeque::new();
    loop {
        let mut line = vec![];
        match (&mut complaints).take(MAX_COMPLAINT).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return kept,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line).trim().to_string();
        if !line.is_empty() {
            kept.push_back(line);
        }
        if kept.len() > COMPLAINTS {
            kept.pop_front();
        }
    }
}

/// The clip as an argument: a file, whatever its name looks like.
fn source(path: &Path) -> OsString {
    let mut source = OsString::from("file:");
    source.push(path);
    source
}

/// What helps who has no ffmpeg here.
fn advice(path: &Path) -> String {
    let name = |path: &Path| match path.display().to_string() {
        plain if plain.chars().all(|c| c.is_alphanumeric() || "/\\._-+:~".contains(c)) && !plain.starts_with('-') => {
            plain
        }
        other => format!("\"{other}\""),
    };
    let mut converted = path.file_stem().unwrap_or_default().to_os_string();
    converted.push("-yuv420p.mp4");
    format!(
        "put ffmpeg on the PATH and it will be used, or convert the clip to what is read without it, H.264 of 8 bits \
         and 4:2:0 (yuv420p), where there is one: ffmpeg -i {} -c:v libx264 -crf 12 -pix_fmt yuv420p {}",
        name(path),
        name(Path::new(&converted))
    )
}

/// The average rate as the tool beside ffmpeg tells it, or the one that it takes the clip to have;
/// `None` if it is not there or does not know.
fn rate_by_ffprobe(ffprobe: &str, path: &Path) -> Option<FrameRate> {
    let output = Command::new(ffprobe)
        .args(["-loglevel", "quiet", "-protocol_whitelist", "file", "-select_streams", "V:0"])
        .args(["-show_entries", "stream=avg_frame_rate,r_frame_rate", "-of", "default=noprint_wrappers=1"])
        .arg(source(path))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let told = String::from_utf8(output.stdout).ok()?;
    let rate = |name: &str| {
        let fraction = told.lines().find_map(|line| line.trim().strip_prefix(name))?;
        let (frames, seconds) = fraction.split_once('/')?;
        FrameRate::new(frames.parse::<f64>().ok()? / seconds.parse::<f64>().ok()?).ok()
    };
    rate("avg_frame_rate=").or_else(|| rate("r_frame_rate="))
}

/// The same to two digits behind the point, which ffmpeg tells about a clip that it is to do
/// nothing with.
fn rate_by_ffmpeg(ffmpeg: &str, path: &Path) -> Option<FrameRate> {
    let output = Command::new(ffmpeg)
        .args(["-nostdin", "-hide_banner", "-loglevel", "info", "-protocol_whitelist", "file", "-i"])
        .arg(source(path))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .ok()?;
    told_rate(&String::from_utf8_lossy(&output.stderr))
}

/// The rate in what ffmpeg tells about a clip: `Stream #0:0: Video: hevc (Main), yuv420p, 64x48,
/// 23.98 fps, 24k tbn`.
fn told_rate(told: &str) -> Option<FrameRate> {
    let is_clip = |line: &&str| {
        line.trim_start().starts_with("Stream #0:")
            && line.contains(": Video: ")
            && !["(attached pic)", "(timed thumbnails)"].iter().any(|mark| line.contains(mark))
    };
    let line = told.lines().find(is_clip)?;
    let rate = |unit: &str| {
        let number = line.split(',').find_map(|word| word.trim().strip_suffix(unit))?;
        let (digits, times) = number.strip_suffix('k').map_or((number, 1.0), |digits| (digits, 1000.0));
        FrameRate::new(digits.parse::<f64>().ok()? * times).ok()
    };
    // The average, or the one that it takes the clip to have.
    rate(" fps").or_else(|| rate(" tbr"))
}

/// What kind of clip it is, as far as its head tells, for the person who has no ffmpeg.
fn kind(path: &Path) -> Option<String> {
    let mut head = vec![];
    File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    let behind =
        |mark: &[u8]| head.windows(mark.len()).position(|bytes| bytes == mark).map(|at| &head[at + mark.len()..]);
    let word = |bytes: &[u8]| -> String {
        let letter = |&&byte: &&u8| byte.is_ascii_alphanumeric() || b"/_".contains(&byte);
        bytes.iter().take_while(letter).take(24).map(|&byte| char::from(byte)).collect()
    };
    if head.starts_with(b"\x1aE\xdf\xa3") {
        let codec = behind(b"V_").map(|rest| format!(", codec {}", word(rest))).unwrap_or_default();
        return Some(format!("Matroska or WebM{codec}"));
    }
    if head.starts_with(b"RIFF") {
        let codec =
            behind(b"vids").map(|rest| format!(", codec {}", word(&rest[..rest.len().min(4)]))).unwrap_or_default();
        return Some(format!("AVI{codec}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_ffmpeg_it_says_what_the_clip_is() {
        let folder = tempfile::tempdir().unwrap();
        let missing = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            Ffmpeg::start("no-such-ffmpeg", "no-such-ffprobe", &path, "not read here").err().unwrap().to_string()
        };
        let message = missing("a.webm", b"\x1aE\xdf\xa3......\x86\x85V_VP9\x00");
        assert!(message.contains("(Matroska or WebM, codec VP9); put ffmpeg on the PATH"), "{message}");
        let message = missing("a.avi", b"RIFF....AVI LIST strhvidsMJPG");
        assert!(message.contains("(AVI, codec MJPG)"), "{message}");
        let message = missing("a.xyz", b"?");
        assert!(message.contains("not read here; put ffmpeg"), "{message}");
    }

    #[test]
    fn the_advice_is_a_command_that_helps() {
        let advice = |name: &str| advice(name.as_ref());
        let message = advice("clips/f444.mp4");
        assert!(message.contains("8 bits and 4:2:0 (yuv420p)"), "{message}");
        let command = "ffmpeg -i clips/f444.mp4 -c:v libx264 -crf 12 -pix_fmt yuv420p f444-yuv420p.mp4";
        assert!(message.ends_with(command), "{message}");
        let command = "-i \"my clip.mov\" -c:v libx264 -crf 12 -pix_fmt yuv420p \"my clip-yuv420p.mp4\"";
        assert!(advice("my clip.mov").ends_with(command));
    }

    #[test]
    fn the_rate_is_read_from_what_ffmpeg_tells() {
        let told = |rate: &str| {
            let text = format!(
                "  Metadata:\n    title : Video: 5 fps\n  Stream #0:0: Video: mjpeg, 90k tbr, 25 fps (attached pic)\n  \
                 Stream #0:1[0x1](und): Video: hevc (Main) (hev1 / 0x31766568), yuv420p(tv), 48x32, {rate}16384 tbn\n"
            );
            told_rate(&text).map(|rate| (rate.frames(), rate.seconds()))
        };
        assert_eq!(told("10 kb/s, 16 fps, 16 tbr, "), Some((16, 1)));
        assert_eq!(told("23.98 fps, 23.98 tbr, "), Some((24000, 1001)));
        assert_eq!(told("29.97 fps, "), Some((30000, 1001)));
        assert_eq!(told("59.94 fps, "), Some((60000, 1001)));
        assert_eq!(told("1k fps, "), Some((1000, 1)));
        // Where the average is not known, what it goes by.
        assert_eq!((told("10 tbr, "), told("90k tbr, ")), (Some((10, 1)), None));
        assert_eq!(told_rate("Stream #0:0: Audio: aac, 5 fps"), None);
    }

    /// A program that takes the arguments of an ffmpeg which knows one of the two options, and
    /// returns two frames.
    #[cfg(unix)]
    fn pretended(folder: &Path, known: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join(format!("ffmpeg-with{known}"));
        let script = format!(
            r#"#!/bin/sh
for word; do
    case "$word" in
    -fps_mode | -vsync)
        if [ "$word" != {known} ]; then
            echo "Unrecognized option '${{word#-}}'." >&2
            echo "Error splitting the argument list: Option not found" >&2
            exit 1
        fi ;;
    esac
done
echo "$*" >> "$0.calls"
case "$*" in
*pipe:1) printf 'P6\n1 1\n255\nabcP6\n1 1\n255\ndef' ;;
*) echo "  Stream #0:0: Video: hevc (Main), yuv420p(tv), 48x32, 16 fps, 16 tbr, 16384 tbn" >&2; exit 1 ;;
esac
"#
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Another test's child may still hold the file open to be written, as it was when that was
        // started.
        while Command::new(&path)
            .arg("-version")
            .output()
            .is_err_and(|cause| cause.kind() == ErrorKind::ExecutableFileBusy)
        {
            thread::yield_now();
        }
        path
    }

    #[cfg(unix)]
    #[test]
    fn every_version_is_asked_for_each_frame_once_in_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("h16.mp4");
        std::fs::write(&clip, "clip").unwrap();
        for known in ["-fps_mode", "-vsync"] {
            let program = pretended(folder.path(), known);
            let mut reader = Ffmpeg::start(program.to_str().unwrap(), "no-such-ffprobe", &clip, "").unwrap();
            // The rate comes without ffprobe, too.
            assert_eq!(reader.shape().rate, FrameRate::new(16.0).ok(), "{known}");
            let mut rgb = vec![];
            assert!(reader.next(&mut rgb).unwrap() && rgb == b"abc", "{known}");
            assert!(reader.next(&mut rgb).unwrap() && rgb == b"def", "{known}");
            assert!(!reader.next(&mut rgb).unwrap(), "{known}");
            let calls = std::fs::read_to_string(format!("{}.calls", program.display())).unwrap();
            let decoded: Vec<_> = calls.lines().filter(|call| call.ends_with("pipe:1")).collect();
            let asked = format!("-map 0:V:0 {known} passthrough");
            assert!(matches!(decoded[..], [call] if call.contains(&asked)), "{calls}");
        }
        // Whoever knows neither says so.
        let program = pretended(folder.path(), "-other");
        let message = Ffmpeg::start(program.to_str().unwrap(), "", &clip, "").err().unwrap().to_string();
        assert!(message.contains("Unrecognized option 'vsync'"), "{message}");
    }
}
