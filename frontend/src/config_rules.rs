//! What the configurations of several classes must obey: limits of sizes, levels of blocks, the
//! numbers by which latents are scaled. What only one class has stands with its fields.

use crate::config_json::Violation;

/// Largest number of channels.
pub(crate) const MOST_CHANNELS: usize = 1 << 16;
/// Largest number of levels.
pub(crate) const MOST_LEVELS: usize = 12;
/// Largest number of residual blocks a level.
pub(crate) const MOST_LAYERS: usize = 64;
/// Largest height or width of a sample in pixels.
pub(crate) const MOST_PIXELS: usize = 1 << 20;

/// Pixels for one latent, in height as in width, of levels that each have half the resolution of the
/// one before. Of too many for the address space, which are refused, it is the largest power of two.
pub(crate) fn compression(levels: usize) -> usize {
    1 << levels.saturating_sub(1).min(usize::BITS as usize - 1)
}

/// Channels of levels, the field `widths`, and group norms whose groups divide every one of them.
pub(crate) fn widths(field: &'static str, widths: &[usize], groups: usize) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
    let levels = widths.len();
    if !(1..=MOST_LEVELS).contains(&levels) {
        report(&[field], format!("expected a list of 1 to {MOST_LEVELS} numbers, found {levels}"));
    }
    for (i, &count) in widths.iter().enumerate() {
        if !(1..=MOST_CHANNELS).contains(&count) {
            let expected = format!("expected whole numbers from 1 to {MOST_CHANNELS}");
            report(&[field], format!("{expected}, found {count} at index {i}"));
        } else if groups > 0 && !count.is_multiple_of(groups) {
            let expected = "expected a divisor of every channel count, but";
            let message = format!("{expected} {groups} groups do not divide {field}[{i}] = {count}");
            report(&["norm_num_groups", field], message);
        }
    }
    found
}

/// `block_out_channels` with as many block types of the one kind each that there is, and group norms
/// whose groups divide every channel count.
pub(crate) fn levels(channels: &[usize], groups: usize, types: &[(&'static str, &[String], &str)]) -> Vec<Violation> {
    let mut found = widths("block_out_channels", channels, groups);
    let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
    let levels = channels.len();
    for &(field, types, only) in types {
        for (i, found) in types.iter().enumerate().filter(|(_, found)| *found != only) {
            report(&[field], format!("expected \"{only}\" everywhere, found {found:?} at index {i}"));
        }
        if types.len() != levels {
            let expected = format!("expected {levels} types, as block_out_channels has {levels} numbers");
            report(&[field, "block_out_channels"], format!("{expected}, found {}", types.len()));
        }
    }
    found
}

/// `act_fn`, of which there is one here.
pub(crate) fn activation(name: &str) -> Option<Violation> {
    let is_silu = ["silu", "swish"].contains(&name.to_lowercase().as_str());
    let message = || format!("expected \"silu\" or its other name \"swish\", found {name:?}");
    (!is_silu).then(|| Violation::new(&["act_fn"], message()))
}

/// `scaling_factor` and `shift_factor`.
pub(crate) fn scaling(factor: f64, shift: Option<f64>) -> Vec<Violation> {
    let mut found = Vec::new();
    if !(factor.is_finite() && factor != 0.0) {
        let message = format!("expected a finite number other than 0, found {factor:?}");
        found.push(Violation::new(&["scaling_factor"], message));
    }
    if let Some(shift) = shift.filter(|shift| !shift.is_finite()) {
        let message = format!("expected a finite number or null, found {shift:?}");
        found.push(Violation::new(&["shift_factor"], message));
    }
    found
}

/// `latents_mean` and `latents_std`, one number for each of the channels that `channels_field`
/// tells.
pub(crate) fn latent_statistics(
    channels_field: &'static str,
    channels: usize,
    mean: Option<&[f64]>,
    deviation: Option<&[f64]>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    for (field, values) in [("latents_mean", mean), ("latents_std", deviation)] {
        let Some(values) = values else { continue };
        if values.len() != channels {
            let message = format!("expected {channels} numbers, one a latent channel, found {}", values.len());
            found.push(Violation::new(&[field, channels_field], message));
        }
        found.extend(statistics_values(field, values));
    }
    found
}

/// The numbers of `latents_mean` or `latents_std`.
pub(crate) fn statistics_values(field: &'static str, values: &[f64]) -> Vec<Violation> {
    let positive = field == "latents_std";
    let is_bad = |value: f64| !value.is_finite() || (positive && value <= 0.0);
    let kind = if positive { "finite numbers greater than 0" } else { "finite numbers" };
    let bad = values.iter().enumerate().filter(|(_, value)| is_bad(**value));
    bad.map(|(i, value)| Violation::new(&[field], format!("expected {kind}, found {value:?} at index {i}"))).collect()
}
