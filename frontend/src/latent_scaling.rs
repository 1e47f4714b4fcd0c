//! The scaling that a pipeline does to latents, and undoing it. Which numbers a model scales with,
//! the model says.

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
        self.check(channels)?;
        let shift = self.shift_factor.unwrap_or(0.0);
        for (i, volume) in latents.chunks_exact_mut(frames * height * width).enumerate() {
            let (deviation, mean) = match (&self.latents_std, &self.latents_mean) {
                (Some(deviation), Some(mean)) => (deviation[i % channels], mean[i % channels]),
                _ => (1.0, 0.0),
            };
            for value in volume {
                *value = formula(f64::from(*value), mean + shift, deviation) as f32;
            }
        }
        Ok(())
    }

    fn check(&self, channels: usize) -> Result<(), ScalingError> {
        let fail = |problem: String| Err(ScalingError(problem));
        if !self.scaling_factor.is_finite() || self.scaling_factor == 0.0 {
            return fail(format!("scaling_factor is {}, expected a number that is not zero", self.scaling_factor));
        }
        if let Some(shift) = self.shift_factor.filter(|shift| !shift.is_finite()) {
            return fail(format!("shift_factor is {shift}, expected a number"));
        }
        for (name, list) in [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)] {
            let Some(list) = list else { continue };
            if list.len() != channels {
                return fail(format!("{name} has {} numbers, the latents have {channels} channels", list.len()));
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
        let plain = LatentScaling { scaling_factor: 0.5, shift_factor: None, latents_mean: None, latents_std: None };
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
}
