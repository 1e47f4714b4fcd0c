//! The forms that a model's latents have in files: as they are; or in patches, the values of each as
//! channels of their own, as the pipelines of some models keep them; or with these patches in a row,
//! as transformers take them.

use crate::latents::Latents;

/// How many channels a model's latents have in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentForm {
    /// As the decoder takes them.
    pub channels: usize,
    /// Height and width of the patches in which pipelines keep them; 1 where they are kept as they
    /// are. Patches are channels in the order channel, row, column.
    pub patch: usize,
    /// Height and width of latents whose patches are in a row; those of a square where nothing is
    /// said.
    pub size: Option<[usize; 2]>,
}

impl From<usize> for LatentForm {
    /// Of so many channels, without patches.
    fn from(channels: usize) -> LatentForm {
        LatentForm { channels, patch: 1, size: None }
    }
}

impl LatentForm {
    /// Channels of latents in patches.
    pub fn patched_channels(&self) -> usize {
        self.channels.saturating_mul(self.patch).saturating_mul(self.patch)
    }

    /// Whether latents of so many channels are of this form, in patches or not.
    pub(crate) fn fits(&self, channels: usize) -> bool {
        channels == self.channels || self.is_patched(channels)
    }

    /// Whether latents of so many channels are in patches.
    pub(crate) fn is_patched(&self, channels: usize) -> bool {
        self.patch > 1 && channels == self.patched_channels()
    }

    /// Height and width of the patches of latents [B, tokens, channels] of so many channels, if they
    /// are that.
    pub(crate) fn patch_of_tokens(&self, channels: usize) -> Option<usize> {
        let places = channels.checked_div(self.channels)?;
        let patch = places.isqrt();
        (patch > 1 && patch.checked_pow(2)?.checked_mul(self.channels) == Some(channels)).then_some(patch)
    }

    /// Rows and columns of so many tokens, of patches of this height and width; `None` where they
    /// are another number than was said, or no square.
    pub(crate) fn rows_and_columns(&self, tokens: usize, patch: usize) -> Option<[usize; 2]> {
        let side = tokens.isqrt();
        let [rows, columns] = self.size.map_or([side; 2], |size| size.map(|length| length / patch));
        (rows.checked_mul(columns) == Some(tokens)).then_some([rows, columns])
    }

    /// The channels, for a message.
    pub(crate) fn shown(&self) -> String {
        match self.patch {
            1 => self.channels.to_string(),
            patch => format!("{}, or {} in patches of {patch}x{patch}", self.channels, self.patched_channels()),
        }
    }
}

/// Latents [B, C * p * p, T, H, W], whose channels are the places of patches of height and width p,
/// as [B, C, T, H * p, W * p].
pub(crate) fn out_of_patches(latents: &Latents, patch: usize) -> Latents {
    let [batch, channels, frames, rows, columns] = latents.shape;
    let shape = [batch, channels / (patch * patch), frames, rows * patch, columns * patch];
    Latents { data: places(shape, patch).map(|place| latents.data[place]).collect(), shape }
}

/// Latents [B, rows * columns, C * p * p], whose tokens are patches, as [B, C * p * p, 1, rows,
/// columns].
pub(crate) fn out_of_a_row(data: &[f32], [batch, channels]: [usize; 2], [rows, columns]: [usize; 2]) -> Latents {
    let tokens = rows * columns;
    let samples = data.chunks_exact(tokens * channels);
    let planes = samples.flat_map(|sample| (0..channels).flat_map(|c| sample[c..].iter().step_by(channels)));
    Latents { data: planes.copied().collect(), shape: [batch, channels, 1, rows, columns] }
}

/// The reverse of [`out_of_patches`], of latents whose height and width are multiples of p.
pub(crate) fn in_patches(latents: &Latents, patch: usize) -> Latents {
    let [batch, channels, frames, height, width] = latents.shape;
    let mut data = vec![0.0; latents.data.len()];
    for (place, value) in places(latents.shape, patch).zip(&latents.data) {
        data[place] = *value;
    }
    Latents { data, shape: [batch, channels * patch * patch, frames, height / patch, width / patch] }
}

/// Where each value of latents of this shape is when they are in patches, in the order of the
/// values.
fn places([batch, channels, frames, height, width]: [usize; 5], patch: usize) -> impl Iterator<Item = usize> {
    let rows = (0..batch * channels * frames * height).map(move |row| {
        let (y, rest) = (row % height, row / height);
        let (t, channel) = (rest % frames, rest / frames);
        ((channel * patch + y % patch) * patch, t, y / patch)
    });
    rows.flat_map(move |(first, t, row)| {
        (0..width).map(move |x| {
            let plane = (first + x % patch) * frames + t;
            (plane * (height / patch) + row) * (width / patch) + x / patch
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_channels_in_the_order_channel_row_column() {
        // A value tells its sample, channel, frame, row and column.
        let shape = [2, 2, 2, 4, 6];
        let mut data = vec![];
        for b in 0..2 {
            for c in 0..2 {
                for t in 0..2 {
                    for y in 0..4 {
                        data.extend((0..6).map(|x| (((b * 10 + c) * 10 + t) * 10 + y) as f32 * 10.0 + x as f32));
                    }
                }
            }
        }
        let latents = Latents { data, shape };
        let patched = in_patches(&latents, 2);
        assert_eq!(patched.shape, [2, 8, 2, 2, 3]);
        let at = |[b, c, t, y, x]: [usize; 5]| patched.data[(((b * 8 + c) * 2 + t) * 2 + y) * 3 + x];
        // The second channel, the lower row, the left column of a patch.
        assert_eq!(at([0, 6, 1, 1, 2]), 1134.0);
        assert_eq!(at([1, 1, 0, 0, 0]), 10001.0);
        assert_eq!(out_of_patches(&patched, 2), latents);
    }

    #[test]
    fn channels_tell_the_form() {
        let form = LatentForm { channels: 32, patch: 2, size: None };
        assert_eq!([32, 128, 64].map(|channels| form.fits(channels)), [true, true, false]);
        assert_eq!([32, 128].map(|channels| form.is_patched(channels)), [false, true]);
        assert_eq!(form.shown(), "32, or 128 in patches of 2x2");
        let form = LatentForm::from(16);
        assert_eq!(
            [64, 16, 144, 32, 100].map(|channels| form.patch_of_tokens(channels)),
            [Some(2), None, Some(3), None, None]
        );
        assert_eq!((form.rows_and_columns(9, 2), form.rows_and_columns(8, 2)), (Some([3, 3]), None));
        let told = LatentForm { size: Some([4, 8]), ..form };
        assert_eq!((told.rows_and_columns(8, 2), told.rows_and_columns(9, 2)), (Some([2, 4]), None));
        assert!(form.fits(16) && !form.is_patched(16) && form.shown() == "16");
    }
}
