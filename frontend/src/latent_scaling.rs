//! The scaling that a pipeline does to latents, and undoing it. Which numbers a model scales with,
//! the model says; some are in its checkpoint.

use thiserror::Error;

/// The numbers by which a diffusers pipeline scales a model's latents.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentScaling {
    /// What the pipeline multiplied latents with.
    pub scaling_factor: f64,
    /// What was taken from them before that (as Stable Diffusion 3 has it).
    pub shift_factor: Option<f64>,
    /// A mean for each channel (as Stable Diffusion XL variants have it); only in force together
    /// with `latents_std`.
    pub latents_mean: Option<Vec<f64>>,
    /// A standard deviation for each channel; only in force together with `latents_mean`.
    pub latents_std: Option<Vec<f64>>,
    /// Height and width of the patches of latents whose values pipelines keep as channels: mean and
    /// deviation have a number for each channel, row and column of a patch, the channel slowest.
    /// 1 where there are none.
    pub patch: usize,
    /// Latent frames, the first ones of a clip, at each of which mean and deviation have numbers of
    /// their own, behind those of the channel; 1 where they are the same at every frame. Then there
    /// are none of later frames, and what is scaled are whole clips.
    pub frames: usize,
}

/// Latents as they are: nothing is done to them.
impl Default for LatentScaling {
    fn default() -> Self {
        Self { scaling_factor: 1.0, shift_factor: None, latents_mean: None, latents_std: None, patch: 1, frames: 1 }
    }
}

/// Where a pipeline's scaling of latents is undone before they are decoded: in the code of a model's
/// authors, and in programs that run their files as that does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unscaling {
    /// In front of the model, which takes latents unscaled.
    #[default]
    Outside,
    /// In the model, which keeps the numbers and takes latents as pipelines do.
    Inside,
    /// Nowhere: the model stands in for another one, and takes latents as pipelines of that one keep
    /// them.
    Nowhere,
}

impl Unscaling {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Inside => "inside",
            Self::Nowhere => "nowhere",
        }
    }
}

/// The tensors of a checkpoint that hold mean and spread of the latents, `[channels * patch *
/// patch]` each in the order of [`LatentScaling::latents_mean`], where they are no fields of the
/// configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoredStatistics {
    /// The name of the means.
    pub mean: &'static str,
    /// What tells the standard deviations.
    pub spread: Spread,
}

/// A tensor that tells standard deviations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread {
    /// The standard deviations.
    Deviation {
        /// The tensor's name.
        name: &'static str,
    },
    /// Variances; the standard deviation is `sqrt(variance + epsilon)`, as a batch norm has it.
    Variance {
        /// The tensor's name.
        name: &'static str,
        /// What is added to each.
        epsilon: f64,
    },
}

impl StoredStatistics {
    /// The names of both tensors.
    pub fn names(&self) -> [&'static str; 2] {
        let (Spread::Deviation { name } | Spread::Variance { name, .. }) = self.spread;
        [self.mean, name]
    }

    /// `scaling` with the mean and the standard deviation that these values of both tensors tell.
    ///
    /// # Errors
    /// If a value is not finite, or a deviation not greater than 0.
    pub fn in_scaling(
        &self,
        scaling: LatentScaling,
        mean: &[f32],
        spread: &[f32],
    ) -> Result<LatentScaling, ScalingError> {
        let [mean_name, spread_name] = self.names();
        if let Some((channel, value)) = mean.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(ScalingError(format!("`{mean_name}` has {value} for channel {channel}, expected a number")));
        }
        let deviation = |value: f32| match self.spread {
            Spread::Deviation { .. } => f64::from(value),
            Spread::Variance { epsilon, .. } => (f64::from(value) + epsilon).sqrt(),
        };
        let deviations: Vec<f64> = spread.iter().map(|&value| deviation(value)).collect();
        let is_good = |deviation: f64| deviation.is_finite() && deviation > 0.0;
        if let Some(channel) = deviations.iter().position(|&deviation| !is_good(deviation)) {
            let value = spread[channel];
            let problem =
                format!("`{spread_name}` has {value} for channel {channel}, expected a number greater than 0");
            return Err(ScalingError(problem));
        }
        let latents_mean = Some(mean.iter().copied().map(f64::from).collect());
        Ok(LatentScaling { latents_mean, latents_std: Some(deviations), ..scaling })
    }
}

/// Numbers that scaling cannot be undone with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("latents cannot be unscaled: {0}")]
pub struct ScalingError(pub String);

impl LatentScaling {
    /// Turns a pipeline's latents x, `[batch, channel, time, height, width]`, into the decoder's z,
    /// in place: z = x / scaling_factor, or, with mean and standard deviation of the channel, z
    /// = x * std / scaling_factor + mean; then z += shift_factor. This is the arithmetic of the
    /// diffusers pipelines, done in f64 and rounded once.
    ///
    /// # Errors
    /// If the factor is zero, a number is not finite, or a list is not as long as there are
    /// channels.
    pub fn unscale(&self, latents: &mut [f32], shape: [usize; 5]) -> Result<(), ScalingError> {
        self.for_each_channel(latents, shape, |value, offset, deviation| {
            value * deviation / self.scaling_factor + offset
        })
    }

    /// The inverse of [`Self::unscale`], in the same arithmetic: what a pipeline keeps of the
    /// encoder's latents.
    ///
    /// # Errors
    /// As [`Self::unscale`]; also if a standard deviation is zero.
    pub fn scale(&self, latents: &mut [f32], shape: [usize; 5]) -> Result<(), ScalingError> {
        let zero = self.latents_std.iter().flatten().position(|&deviation| deviation == 0.0);
        if let Some(channel) = zero.filter(|_| self.latents_mean.is_some()) {
            return Err(ScalingError(format!("latents_std has 0 for channel {channel}, and cannot be divided by")));
        }
        self.for_each_channel(latents, shape, |value, offset, deviation| {
            (value - offset) * self.scaling_factor / deviation
        })
    }

    /// Replaces every value by `formula` of it, the mean and shift together, and the standard
    /// deviation of its channel.
    fn for_each_channel(
        &self,
        latents: &mut [f32],
        [_, channels, frames, height, width]: [usize; 5],
        formula: impl Fn(f64, f64, f64) -> f64,
    ) -> Result<(), ScalingError> {
        self.check(channels, frames)?;
        let shift = self.shift_factor.unwrap_or(0.0);
        let statistics = self.latents_std.as_ref().zip(self.latents_mean.as_ref());
        for (i, row) in latents.chunks_exact_mut(width.max(1)).enumerate() {
            let channel = i / (frames * height) % channels;
            let frame = if self.frames > 1 { i / height % frames } else { 0 };
            let first = ((channel * self.frames + frame) * self.patch + i % height % self.patch) * self.patch;
            for (column, value) in row.iter_mut().enumerate() {
                let place = first + column % self.patch;
                let (deviation, mean) = statistics.map_or((1.0, 0.0), |(std, mean)| (std[place], mean[place]));
                *value = formula(f64::from(*value), mean + shift, deviation) as f32;
            }
        }
        Ok(())
    }

    fn check(&self, channels: usize, frames: usize) -> Result<(), ScalingError> {
        let fail = |problem: String| Err(ScalingError(problem));
        if self.frames > 1 && frames > self.frames && self.latents_mean.is_some() && self.latents_std.is_some() {
            let known = self.frames;
            return fail(format!("latents_mean and latents_std are of {known} latent frames, and these are {frames}"));
        }
        if !self.scaling_factor.is_finite() || self.scaling_factor == 0.0 {
            return fail(format!("scaling_factor is {}, expected a number that is not zero", self.scaling_factor));
        }
        if let Some(shift) = self.shift_factor.filter(|shift| !shift.is_finite()) {
            return fail(format!("shift_factor is {shift}, expected a number"));
        }
        let count = channels * self.frames * self.patch * self.patch;
        for (name, list) in [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)] {
            let Some(list) = list else { continue };
            if list.len() != count {
                return fail(format!("{name} has {} numbers, the latents have {count} channels", list.len()));
            }
            if let Some(channel) = list.iter().position(|value| !value.is_finite()) {
                return fail(format!("{name} has {} for channel {channel}, expected a number", list[channel]));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_is_undone() {
        let plain = LatentScaling { scaling_factor: 0.5, ..LatentScaling::default() };
        let unscaled = |scaling: &LatentScaling| {
            let mut latents = [1.0, 2.0, 3.0, 4.0];
            scaling.unscale(&mut latents, [2, 2, 1, 1, 1]).map(|()| latents)
        };
        assert_eq!(unscaled(&plain).unwrap(), [2.0, 4.0, 6.0, 8.0]);
        let shifted = LatentScaling { shift_factor: Some(0.25), ..plain.clone() };
        assert_eq!(unscaled(&shifted).unwrap(), [2.25, 4.25, 6.25, 8.25]);
        let per_channel =
            LatentScaling { latents_mean: Some(vec![1.0, -1.0]), latents_std: Some(vec![0.5, 2.0]), ..plain.clone() };
        assert_eq!(unscaled(&per_channel).unwrap(), [2.0, 7.0, 4.0, 15.0]);
        let mean_alone = LatentScaling { latents_std: None, ..per_channel.clone() };
        assert_eq!(unscaled(&mean_alone).unwrap(), [2.0, 4.0, 6.0, 8.0]);

        for scaling in [&plain, &shifted, &per_channel, &mean_alone] {
            let mut latents = unscaled(scaling).unwrap();
            scaling.scale(&mut latents, [2, 2, 1, 1, 1]).unwrap();
            assert_eq!(latents, [1.0, 2.0, 3.0, 4.0]);
        }
        let flat = LatentScaling { latents_std: Some(vec![1.0, 0.0]), ..per_channel.clone() };
        let message = flat.scale(&mut [0.0; 2], [1, 2, 1, 1, 1]).unwrap_err().to_string();
        assert!(message.contains("latents_std has 0 for channel 1"), "{message}");

        let complaint = |scaling| unscaled(&scaling).unwrap_err().to_string();
        assert!(complaint(LatentScaling { scaling_factor: 0.0, ..plain.clone() }).contains("scaling_factor is 0"));
        assert!(complaint(LatentScaling { shift_factor: Some(f64::NAN), ..plain }).contains("shift_factor is NaN"));
        let short = LatentScaling { latents_mean: Some(vec![1.0]), ..per_channel };
        assert!(complaint(short).contains("latents_mean has 1 numbers, the latents have 2 channels"));
    }

    #[test]
    fn statistics_of_patches_are_those_of_channel_row_and_column() {
        let mean = (0..8).map(f64::from).collect();
        let scaling = LatentScaling {
            latents_mean: Some(mean),
            latents_std: Some(vec![1.0; 8]),
            patch: 2,
            ..LatentScaling::default()
        };
        let mut latents = [0.0; 2 * 4 * 2];
        scaling.unscale(&mut latents, [1, 2, 1, 4, 2]).unwrap();
        assert_eq!(latents, [0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 4.0, 5.0, 6.0, 7.0]);
        let complaint = scaling.unscale(&mut [0.0; 3], [1, 3, 1, 1, 1]).unwrap_err().to_string();
        assert!(complaint.contains("latents_mean has 8 numbers, the latents have 12 channels"), "{complaint}");
    }

    #[test]
    fn statistics_of_frames_are_those_of_channel_and_frame() {
        let scaling = LatentScaling {
            latents_mean: Some((0..6).map(f64::from).collect()),
            latents_std: Some(vec![1.0; 6]),
            frames: 3,
            ..LatentScaling::default()
        };
        let mut latents = [0.0; 2 * 2 * 2 * 2];
        scaling.unscale(&mut latents, [2, 2, 2, 1, 2]).unwrap();
        let one = [0.0, 0.0, 1.0, 1.0, 3.0, 3.0, 4.0, 4.0];
        assert_eq!(latents, [one, one].concat()[..]);
        scaling.scale(&mut latents, [2, 2, 2, 1, 2]).unwrap();
        assert_eq!(latents, [0.0; 16]);
        let complaint = scaling.unscale(&mut [0.0; 8], [1, 2, 4, 1, 1]).unwrap_err().to_string();
        assert!(complaint.contains("are of 3 latent frames, and these are 4"), "{complaint}");
    }

    #[test]
    fn numbers_of_a_checkpoint_are_checked() {
        let with = |spread, values: [f32; 2]| {
            let stored = StoredStatistics { mean: "bn.mean", spread };
            assert_eq!(stored.names()[0], "bn.mean");
            stored.in_scaling(LatentScaling::default(), &[0.5, 1.0], &values).map_err(|error| error.to_string())
        };
        let variance = Spread::Variance { name: "bn.var", epsilon: 1.0 };
        let scaling = with(variance, [3.0, 8.0]).unwrap();
        assert_eq!(scaling.latents_std, Some(vec![2.0, 3.0]));
        assert_eq!(scaling.latents_mean, Some(vec![0.5, 1.0]));
        let deviation = Spread::Deviation { name: "std" };
        assert_eq!(with(deviation, [3.0, 8.0]).unwrap().latents_std, Some(vec![3.0, 8.0]));
        for (spread, values) in [(variance, [3.0, -1.0]), (variance, [3.0, f32::NAN]), (deviation, [3.0, 0.0])] {
            let complaint = with(spread, values).unwrap_err();
            assert!(complaint.contains("for channel 1, expected a number greater than 0"), "{complaint}");
        }
        let stored = StoredStatistics { mean: "bn.mean", spread: variance };
        let complaint = stored.in_scaling(LatentScaling::default(), &[f32::INFINITY], &[1.0]).unwrap_err().to_string();
        assert!(complaint.contains("`bn.mean` has inf for channel 0"), "{complaint}");
    }
}
