//! Compiled programs on disk, so that a program is compiled once on a machine and not once a run.
//!
//! Plugins load what another version of them made and compute wrong numbers with it. So an entry's
//! name is a hash of everything that its program depends on (the plugin's file, the processor, the
//! devices, the module, the options), and its file has a checksum, by which damage is found before
//! a plugin sees it. Entries appear whole or not at all; several processes may share a folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::client::Client;
use super::compile_options::CompileOptions;
use super::error::{Error, Result};
use super::loaded::LoadedExecutable;
use super::signature::Signature;

/// What an entry's file begins with; the checksum follows, then the program.
const MAGIC: &[u8; 16] = b"tessera pjrt 1\n\0";
const CHECKSUM_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + CHECKSUM_BYTES;

/// A folder of compiled programs, for one client.
pub struct ExecutableCache {
    folder: PathBuf,
    /// Hash of what all programs of the client depend on.
    machine: Sha256,
}

/// Where a program came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was compiled.
    Compiled,
    /// It was there.
    Cached,
}

impl ExecutableCache {
    /// The cache in this folder, which is made when something is put there.
    ///
    /// # Errors
    /// [`Error::Load`] if the plugin's file cannot be read any more; what the plugin says of its
    /// devices.
    pub fn new(folder: &Path, client: &Client) -> Result<ExecutableCache> {
        let path = client.plugin().path();
        let unreadable = |cause: io::Error| Error::Load { path: path.into(), problem: cause.to_string() };
        let mut plugin = Sha256::new();
        io::copy(&mut File::open(path).map_err(unreadable)?, &mut Writer(&mut plugin)).map_err(unreadable)?;
        let mut machine = Sha256::new();
        machine.update(plugin.finalize());
        let (platform, version) = client.platform()?;
        let devices = client.devices()?;
        let kinds = devices.iter().map(|device| device.description().kind.clone());
        for part in [platform, version, processor()].into_iter().chain(kinds) {
            field(&mut machine, part.as_bytes());
        }
        Ok(ExecutableCache { folder: folder.into(), machine })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The program of a module: from the cache, or compiled and put there. What cannot be read or
    /// written on disk is told in the log and otherwise no harm.
    ///
    /// # Errors
    /// Those of [`Client::compile`].
    pub fn program(
        &self,
        client: &Client,
        module: &[u8],
        signature: Signature,
        options: &CompileOptions,
    ) -> Result<(LoadedExecutable, Origin)> {
        let entry = self.entry(module, options);
        match read(&entry) {
            Ok(Some(serialized)) => match client.load(&serialized, signature.clone()) {
                Ok(program) => return Ok((program, Origin::Cached)),
                Err(error) => discard(&entry, &error.to_string()),
            },
            Ok(None) => {}
            Err(problem) => discard(&entry, &problem),
        }
        let program = client.compile(module, signature, options)?;
        match program.executable().serialize() {
            Ok(serialized) => {
                if let Err(cause) = self.write(&entry, &serialized) {
                    log::warn!("{}: a compiled program cannot be kept: {cause}", entry.display());
                }
            }
            Err(error) => log::debug!("compiled programs are not kept: {error}"),
        }
        Ok((program, Origin::Compiled))
    }

    /// The file of a program.
    fn entry(&self, module: &[u8], options: &CompileOptions) -> PathBuf {
        let mut hash = self.machine.clone();
        field(&mut hash, &options.encode());
        field(&mut hash, module);
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{name}.executable"))
    }

    fn write(&self, entry: &Path, serialized: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&head(serialized))?;
        file.write_all(serialized)?;
        file.persist(entry)?;
        Ok(())
    }
}

/// What stands in an entry's file in front of the program.
pub fn head(program: &[u8]) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let (magic, checksum) = head.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    checksum.copy_from_slice(&Sha256::digest(program));
    head
}

/// The program in an entry's file; `None` if the file is damaged, cut off, or something else.
pub fn program_of(entry: &[u8]) -> Option<&[u8]> {
    let (found, program) = entry.split_at_checked(HEAD_BYTES)?;
    (found == head(program)).then_some(program)
}

/// An entry's program; `None` where there is none.
fn read(entry: &Path) -> Result<Option<Vec<u8>>, String> {
    let mut bytes = match fs::read(entry) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|cause| cause.to_string())?,
    };
    if program_of(&bytes).is_none() {
        return Err("it is damaged".into());
    }
    Ok(Some(bytes.split_off(HEAD_BYTES)))
}

/// Removes an entry that is of no use.
fn discard(entry: &Path, problem: &str) {
    log::warn!("{}: compiled anew: {problem}", entry.display());
    if let Err(cause) = fs::remove_file(entry) {
        log::warn!("{}: cannot be removed: {cause}", entry.display());
    }
}

/// What kind of processor this is: plugins for CPUs compile for its instructions and its caches.
fn processor() -> String {
    const FIELDS: [&str; 7] = ["vendor_id", "cpu family", "model", "model name", "flags", "Features", "CPU part"];
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // Of the first one.
    let lines = known.lines().take_while(|line| !line.is_empty());
    let lines = lines.filter(|line| line.split(':').next().is_some_and(|name| FIELDS.contains(&name.trim())));
    lines.fold(format!("{} {}", std::env::consts::ARCH, std::env::consts::OS), |all, line| all + "\n" + line)
}

/// Adds something with its length, so that no two lists of things hash alike.
fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

struct Writer<'a>(&'a mut Sha256);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
