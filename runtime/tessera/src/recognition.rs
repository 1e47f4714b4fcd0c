//! Which model a file of weights without a `config.json` is, or with one that leaves out what tensors
//! tell: of those that its tensors may be (see [`frontend::recognition`]) the one that it holds most
//! of.
//!
//! Nothing is taken that is not whole in one half at least, every tensor in its shape. What a file's
//! metadata tell of its configuration counts before a guess does, and not if nothing fits it.

use std::path::Path;
use std::sync::Arc;

use frontend::{Autoencoder, Half, Recognised, TensorShapes, Told};
use weights::{Checkpoint, ExpectedHalf};

use crate::error::{Error, Result};
use crate::parameters;

/// A model that was recognised, and a sentence that says by what.
pub(crate) struct Recognition {
    pub(crate) model: Arc<dyn Autoencoder>,
    pub(crate) account: String,
}

/// The key of a file's metadata under which it may have a configuration, of the model or of the
/// pipeline that the model is of.
const CONFIG_LABEL: &str = "config";

/// A model whose tensors are in a file.
struct Candidate {
    recognised: Recognised,
    /// Halves that are whole.
    halves: usize,
    /// Tensors beside them that are not the model's.
    others: usize,
    /// Whether the file is called as people call the model.
    is_named: bool,
}

/// Why a file does not hold a model that it looks like.
struct Unlike {
    /// Whether that is because tensors leave something open.
    is_open: bool,
    problem: String,
}

impl Candidate {
    /// The model as the file has it, or why it has none such.
    fn of(checkpoint: &Checkpoint, recognised: Recognised) -> Result<Result<Self, Unlike>> {
        let model = &*recognised.model;
        if let Some(problem) = model.problems().first() {
            let problem =
                format!("its tensors do not tell enough: {problem}; a configuration of what they leave open will do");
            return Ok(Err(Unlike { is_open: true, problem }));
        }
        let differs = |problem| Ok(Err(Unlike { is_open: false, problem }));
        let parts = parameters::all(model)?;
        let named = match checkpoint.clone().named(&parts, &parameters::dialects(model)) {
            Ok(named) => named,
            Err(fault) => return differs(fault.to_string()),
        };
        let halves = &parts[..Half::ALL.len()];
        let faults: Vec<_> = halves.iter().filter_map(|half| named.check(half).err()).collect();
        if let [_, fault] = &faults[..] {
            return differs(problem_of(fault));
        }
        Ok(Ok(Self {
            halves: halves.len() - faults.len(),
            others: others(&named, &parts),
            is_named: is_named(checkpoint.path(), &recognised),
            recognised,
        }))
    }

    /// What people call it: by its class, and the published model if it is one.
    fn name(&self) -> String {
        let class = self.recognised.model.class_name();
        match self.recognised.published {
            Some(published) => format!("{class} ({published})"),
            None => class.to_owned(),
        }
    }
}

/// The model that `checkpoint` holds, whose names are the file's.
///
/// # Errors
/// [`Error::Unrecognised`] with what was found instead.
pub(crate) fn recognise(checkpoint: &Checkpoint) -> Result<Recognition> {
    let told = checkpoint.label(CONFIG_LABEL).and_then(Told::read);
    if let Some(told) = told
        && let Ok(found) = with_told(checkpoint, &told, "there is no config.json beside it; by its metadata and")
    {
        return Ok(found);
    }
    with_told(checkpoint, &Told::default(), "there is no config.json beside it;")
}

/// The model that `checkpoint` holds, whose names are the file's, by a configuration of this text
/// that leaves out what tensors tell; `None` where it leaves out more, or where they are not of that
/// configuration.
pub(crate) fn completed(checkpoint: &Checkpoint, config: &str) -> Option<Recognition> {
    let told = Told::read(config)?;
    let names: Vec<_> = told.names().filter(|name| !name.starts_with('_')).map(|name| format!("`{name}`")).collect();
    let by = format!(
        "its configuration tells {} alone;",
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    );
    with_told(checkpoint, &told, &by).ok()
}

/// The model that `checkpoint` holds with these fields; `by` begins the account of it.
fn with_told(checkpoint: &Checkpoint, told: &Told, by: &str) -> Result<Recognition> {
    let path = checkpoint.path().to_owned();
    let shapes: TensorShapes<'_> = checkpoint.signatures().map(|tensor| (tensor.name, tensor.shape)).collect();
    let mut candidates = vec![];
    let mut near = vec![];
    for recognised in frontend::recognise(&shapes, told) {
        let class = recognised.model.class_name();
        match Candidate::of(checkpoint, recognised)? {
            Ok(candidate) => candidates.push(candidate),
            Err(Unlike { is_open, problem }) => near.push((is_open, format!("it looks like {class}, but {problem}"))),
        }
    }
    // Of equals the first, by the order of the registry.
    let rank = |candidate: &Candidate| (candidate.halves, std::cmp::Reverse(candidate.others));
    let Some(best) = candidates.iter().map(rank).max() else {
        let problem = if near.is_empty() {
            format!("no model is known whose tensors are called so; it has {}", checkpoint.contents())
        } else {
            // Where something can be done about one, the others were but looked at.
            let can_be_told = near.iter().any(|(is_open, _)| *is_open);
            near.retain(|(is_open, _)| *is_open == can_be_told);
            near.into_iter().map(|(_, problem)| problem).collect::<Vec<_>>().join("; ")
        };
        return Err(Error::Unrecognised { path, problem });
    };
    candidates.retain(|candidate| rank(candidate) == best);
    let chosen = candidates.iter().position(|candidate| candidate.is_named).unwrap_or(0);
    let chosen = candidates.remove(chosen);
    Ok(Recognition { account: account(by, &chosen, &candidates), model: chosen.recognised.model })
}

/// One sentence about what was taken, and what else it may be.
fn account(by: &str, chosen: &Candidate, equals: &[Candidate]) -> String {
    let mut account = format!(
        "{by} by the names and shapes of its tensors{} it is {}",
        if chosen.is_named && !equals.is_empty() { " and by its own name" } else { "" },
        chosen.name(),
    );
    if chosen.recognised.published.is_none() {
        account += ", of no published size: what tensors do not tell has the values of the class";
    }
    if !equals.is_empty() {
        let names: Vec<_> = equals.iter().map(Candidate::name).collect();
        account += &format!("; {} would have the same tensors: a config.json says which", names.join(", "));
    }
    account
}

/// How many tensors beside the model's are not its own.
fn others(checkpoint: &Checkpoint, parts: &[ExpectedHalf]) -> usize {
    let expected = parts.iter().flat_map(|half| &half.tensors);
    checkpoint.len() - expected.filter(|(name, _)| checkpoint.has(name)).count()
}

/// Whether a file is called as people call the model, or where that is not published, one of its
/// class; letters and digits count.
fn is_named(path: &Path, recognised: &Recognised) -> bool {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let file = plain(&path.file_stem().unwrap_or_default().to_string_lossy());
    let names = recognised.published.as_slice();
    let names = if names.is_empty() { &recognised.relatives[..] } else { names };
    names.iter().any(|name| file.contains(&plain(name)))
}

/// What is wrong, without the file, which is said already.
fn problem_of(fault: &weights::Error) -> String {
    match fault {
        weights::Error::NotTheModel { half, problem, .. } => format!("{half}: {problem}"),
        other => other.to_string(),
    }
}
