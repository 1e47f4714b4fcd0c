//! Fragments (`moof`) of an MP4 that was written piece by piece: the samples that each adds
//! (ISO/IEC 14496-12, 8.8).

use shiguredo_mp4::boxes::{TfdtBox, TfhdBox, TrexBox, TrunBox};

use super::super::h264::Trouble;
use super::boxes::{BoxBytes, word};
use super::index::{Sample, Track, check_count, shown_at};

/// A track's part of a fragment, but for its runs of samples.
struct Part {
    header: TfhdBox,
    /// What its samples are like unless they say otherwise: description (from 1), duration, bytes.
    description: u32,
    duration: u32,
    size: u32,
}

impl Part {
    fn new(header: TfhdBox, defaults: &[TrexBox]) -> Part {
        let of_track = defaults.iter().find(|defaults| defaults.track_id == header.track_id);
        let or = |own: Option<u32>, default: fn(&TrexBox) -> u32| own.or(of_track.map(default));
        let description = or(header.sample_description_index, |all| all.default_sample_description_index);
        Part {
            description: description.unwrap_or(1),
            duration: or(header.default_sample_duration, |all| all.default_sample_duration).unwrap_or(0),
            size: or(header.default_sample_size, |all| all.default_sample_size).unwrap_or(0),
            header,
        }
    }
}

impl Track {
    /// Takes the samples of the fragment `moof`, which begins at `at` of a file of `length` bytes.
    /// Of other tracks only what says where this one's samples are is looked at.
    pub(super) fn read_fragment(&mut self, fragment: BoxBytes<'_>, at: u64, length: u64) -> Result<(), Trouble> {
        // Where the samples of the part before end, which the next begin behind unless they say
        // where; unknown if it is damaged.
        let mut end = Some(at);
        for traf in fragment.children()?.into_iter().filter(|child| &child.kind == b"traf") {
            let header: TfhdBox = traf.child(b"tfhd")?.decode()?;
            let part = Part::new(header, self.defaults.as_deref().unwrap_or_default());
            let start = match (part.header.base_data_offset, part.header.default_base_is_moof) {
                (Some(start), _) => Some(start),
                (None, true) => Some(at),
                (None, false) => end,
            };
            end =
                match (start, part.header.track_id == self.id) {
                    (None, true) => return Err(Trouble::Damaged(
                        "its index is damaged: the part of another track says nothing of where this one's samples are"
                            .into(),
                    )),
                    (None, false) => None,
                    (Some(start), true) => Some(self.read_part(&part, traf, start, length)?),
                    (Some(start), false) => {
                        runs(traf, 0, length).and_then(|runs| part.places(&runs, start)).ok().map(|(_, end)| end)
                    }
                };
        }
        Ok(())
    }

    /// Takes the samples of this track's part, which are at `start` unless they say otherwise;
    /// returns where they end.
    fn read_part(&mut self, part: &Part, traf: BoxBytes<'_>, start: u64, length: u64) -> Result<u64, Trouble> {
        let description = part.description.wrapping_sub(1);
        if description as usize >= self.descriptions.len() {
            let count = self.descriptions.len();
            let problem = format!("its index is damaged: description {} of {count}", part.description);
            return Err(Trouble::Damaged(problem));
        }
        if let Some(time) = traf.find(b"tfdt")? {
            let time = time.decode::<TfdtBox>()?.base_media_decode_time;
            self.end = i64::try_from(time)
                .map_err(|_| Trouble::Damaged(format!("its index is damaged: samples at time {time}")))?;
        }
        let runs = runs(traf, self.samples.len() as u64, length)?;
        let (places, end) = part.places(&runs, start)?;
        for (sample, (start, size)) in runs.iter().flat_map(|run| &run.samples).zip(places) {
            let duration = sample.duration.unwrap_or(part.duration);
            let time = shown_at(self.end, sample.composition_time_offset);
            self.end = self.end.saturating_add(duration.into());
            self.push(Sample { start, size, description, time }, duration);
        }
        Ok(end)
    }
}

impl Part {
    /// Where each sample of the runs is, with its bytes, and where the last one ends.
    fn places(&self, runs: &[TrunBox], start: u64) -> Result<(Vec<(u64, u32)>, u64), Trouble> {
        let outside = || Trouble::Damaged("its index is damaged: samples outside of any file".into());
        let mut places = vec![];
        let mut at = start;
        for run in runs {
            if let Some(offset) = run.data_offset {
                at = start.checked_add_signed(offset.into()).ok_or_else(outside)?;
            }
            for sample in &run.samples {
                let size = sample.size.unwrap_or(self.size);
                places.push((at, size));
                at = at.checked_add(size.into()).ok_or_else(outside)?;
            }
        }
        Ok((places, at))
    }
}

/// A part's runs of samples, behind `before` others of a file of `length` bytes.
fn runs(traf: BoxBytes<'_>, before: u64, length: u64) -> Result<Vec<TrunBox>, Trouble> {
    let boxes = traf.children()?.into_iter().filter(|child| &child.kind == b"trun");
    let mut count = before;
    boxes
        .map(|run| {
            // A run can say in a few bytes to have any number of samples: what would take memory is
            // looked at first.
            count += u64::from(word(run.payload, 4).unwrap_or(0));
            check_count(count, length)?;
            run.decode()
        })
        .collect()
}
