//! `tessera roundtrip`: a video to latents and back, and how much is lost on the way.
//!
//! The video is read twice, once to encode and once to compare: what is held of it does not grow
//! with its length, but for the latents.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use frontend::{Channels, Half, Position, StepKind};
use serde_json::{Value, json};
use tessera::media::comparison::{side_by_side, side_by_side_shape};
use tessera::media::contact_sheet::ContactSheet;
use tessera::media::{self, ClipShape, FrameBlock, FrameRate, KNOWN_OUTPUTS};
use tessera::memory::peak_resident_bytes;
use tessera::posterior::{Draw, Posterior};
use tessera::quality::{self, FrameQuality};
use tessera::{Error, Latents, Report, RunOptions, Vae, VideoBuilder};

use super::arguments::{ModelArguments, RunArguments, Video, VideoArguments, frame_rate};
use super::conditions::ConditionArguments;
use super::inspection::InspectionArguments;
use super::latents::axes;
use super::progress::{Bar, with_bar};
use super::report::{JSON_FIELDS, fields, memory_row, paths_json, paths_text, rate_note, row, rows};
use super::returned::{Extent, counted};
use super::run_files::RunFiles;
use super::stream_paths::is_stream;
use super::streams::{clip_writer, interrupted};
use super::{Console, EXIT_CODES, Failure, interrupt, print, streams, table};

/// The frame rate of a video that tells none.
const DEFAULT_RATE: f64 = 8.0;

const EXAMPLES: &str = "\
Examples:
  tessera roundtrip --video clip.mp4 --size 128x192 --output compared.mp4
      through the demo's model; the pictures go to compared.mp4 and compared.png
  tessera roundtrip --model vae --video frames/ --output compared.gif --json > report.json
      figures for every frame as JSON";

/// Encode a video, decode it again, and show what is lost
///
/// Writes the video beside its reconstruction, and a contact sheet of a few frames: the source
/// above, the reconstruction below. Tells for every frame its peak signal-to-noise ratio (PSNR, in
/// dB, over red, green and blue) and its structural similarity (SSIM, at most 1, of the luma).
/// Frames are brought to multiples of the model's compression, and the last few left out where they
/// do not come back from the latents.
#[derive(Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    video: VideoArguments,
    #[arg(long, short, value_name = "FILE", default_value = "roundtrip.mp4", help_heading = "Output", help = format!(
        "Where the comparison goes; the contact sheet goes beside it as a .png. The ending says the format: {KNOWN_OUTPUTS}. \
         An output that is there is replaced. `-`, a named pipe or a device: y4m, frame by frame, without a contact sheet"
    ))]
    output: PathBuf,
    /// Frames a second of the comparison [default: the video's, or 8 where it tells none]
    #[arg(long, value_name = "N", value_parser = frame_rate, allow_negative_numbers = true, help_heading = "Output")]
    fps: Option<FrameRate>,
    #[command(flatten)]
    conditions: ConditionArguments,
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    inspection: InspectionArguments,
    #[arg(long, help_heading = "Output", help = "Print one JSON object about the run to stdout, and nothing else", long_help = format!(
        "Print one JSON object about the run to stdout, and nothing else\n\nIts fields: output (a path, or a list of them where \
         a batch makes several), contact_sheet (null beside a stream), given {{frames, height, width}} (of the video), comes_back \
         (the same, of what is compared), psnr_db and ssim (means over all frames), frame_quality (a list of sample, \
         frame, psnr_db, ssim; psnr_db is null where nothing differs, ssim for frames smaller than 11x11), encode and decode, \
         each with {JSON_FIELDS}; peak_rss_bytes (null where the system does not tell). What is no Unicode in a path is \
         replaced."
    ))]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    interrupt::listen();
    let started = Instant::now();
    let output = &arguments.output;
    streams::check_json("roundtrip", arguments.json, output)?;
    let console = console.beside_clip(output);
    let mut files = RunFiles::new();
    let vae = arguments.model.open(console, &mut files)?;
    let (inspection, trace) = arguments.inspection.open(&mut files)?;
    let options = arguments
        .run
        .options(&mut files)?
        .with_inspection(inspection)
        .with_conditions(arguments.conditions.conditions(&mut files)?);
    let video = arguments.video.open(vae.model().channels().input, console, &mut files)?;
    let given = Extent::of(video.shape);
    let video = comparable(&vae, video, &arguments.video, console)?;
    let clip = video.shape;
    let rate = match arguments.fps.or(video.rate) {
        Some(rate) => rate,
        None => FrameRate::new(DEFAULT_RATE)?,
    };
    let mut writer = clip_writer(output, side_by_side_shape(clip), vae.model().medium(), rate, &mut files, console)?;
    rate_note(output, rate).iter().for_each(|note| console.note(note));
    // Beside a stream there is no place for it.
    let mut sheet = match sheet_path(output) {
        _ if is_stream(output) => None,
        path => {
            files.writes("the contact sheet", &path)?;
            Some(ContactSheet::create(&path, clip)?)
        }
    };
    let read_seconds = started.elapsed().as_secs_f64();

    let options = with_room_to_compare(options, &vae, clip)?;
    let (latents, mut encoded) = encode(&vae, &video, &options, console)?;
    encoded.seconds.load += read_seconds;

    let mut source = video.frames()?;
    let mut compared = vec![];
    let mut write_seconds = 0.0;
    let mut sink = |sample, decoded: &FrameBlock<'_>| {
        let started = Instant::now();
        let data = source.next(sample, decoded.frames)?;
        let source = FrameBlock { data: &data, frames: decoded.frames };
        compared.extend(quality::compare(clip, &source, decoded));
        sheet.iter_mut().for_each(|sheet| sheet.add(&source, decoded));
        let both = side_by_side(clip, &source, decoded);
        writer.write(sample, &FrameBlock { data: &both, frames: decoded.frames })?;
        write_seconds += started.elapsed().as_secs_f64();
        Ok(())
    };
    let decode = |bar: &mut Bar| vae.decode(&latents, &options, &mut sink, bar);
    let decoded = with_bar(console, "decoding", interrupted(output), decode)?;
    trace.finish()?;
    let finishing = Instant::now();
    let output = writer.finish()?;
    let sheet = sheet.map(ContactSheet::finish).transpose()?;
    write_seconds += finishing.elapsed().as_secs_f64();

    let mean = quality::mean(&compared);
    if arguments.json {
        let object = json!({
            "output": paths_json(&output.paths),
            "contact_sheet": sheet.map(|sheet| paths_json(&sheet.paths)),
            "given": given.json(),
            "comes_back": Extent::of(clip).json(),
            "psnr_db": mean.map(|mean| mean.psnr_db),
            "ssim": mean.and_then(|mean| mean.ssim),
            "frame_quality": frames_json(clip, &compared),
            "encode": fields(&encoded, 0.0),
            "decode": fields(&decoded, write_seconds),
            "peak_rss_bytes": peak_resident_bytes(),
        });
        return print(&format!("{object}\n"));
    }
    let mut summary = vec![row("latents", axes(vae.model().medium(), latents.shape))];
    let seconds = |report: &Report| report.seconds.load + report.seconds.compile + report.seconds.run;
    for (name, report, written) in [("encode", &encoded, 0.0), ("decode", &decoded, write_seconds)] {
        let rows = rows(report, written, seconds(report) + written).into_iter();
        // Frames are the same both ways.
        summary.extend(rows.skip(1).map(|[what, value]| [format!("{name} {what}"), value]));
    }
    summary.push(row("seconds", format!("{:.2}", started.elapsed().as_secs_f64())));
    summary.push(memory_row(encoded.arena_bytes.max(decoded.arena_bytes)));
    let has_rate = is_stream(&arguments.output) || media::played_rate(&arguments.output, rate).is_some();
    if arguments.fps.or(video.rate).is_none() && has_rate {
        summary.push(row("rate", format!("{rate} frames a second: the video tells none; --fps asks for others")));
    }
    summary.push(row("written", paths_text(&output.paths, output.bytes)));
    if let Some(sheet) = sheet {
        summary.push(row("contact sheet", paths_text(&sheet.paths, sheet.bytes)));
    }
    if let Some(mean) = mean {
        let ssim = mean.ssim.map_or(String::new(), |ssim| format!(", SSIM {ssim:.4}"));
        let [frames, height, width] = [decoded.frames, decoded.height, decoded.width];
        let value = format!("PSNR {:.4} dB{ssim}, the mean of {frames} frames of {width}x{height}", mean.psnr_db);
        summary.push(row("quality", value));
    }
    console.say(&format!("{}\n{}", frames_table(clip, &compared), table::table(&summary, &[])))
}

/// The video as far as it can come back: resized to multiples of the compression, without last
/// frames that have no latents of their own. What was asked for in so many words is refused rather
/// than changed.
fn comparable(vae: &Vae, video: Video, asked: &VideoArguments, console: Console) -> Result<Video, Error> {
    let model = vae.model();
    vae.encoded_shape(&video.shape)?;
    let Channels { input, output, .. } = model.channels();
    if input != output {
        let problem = format!("the model makes {output} channels of {input}; they cannot be compared");
        return Err(media::Error::InvalidClip { problem }.into());
    }
    let ClipShape { frames, height, width, .. } = video.shape;
    let [good_height, good_width] = [height, width].map(|size| model.sample_size(model.latent_size(size)));
    let comes_back = |frames: &usize| model.decoded_frames(model.encoded_frames(*frames)) == *frames;
    let good_frames = (1..=frames).rev().find(comes_back).unwrap_or(1);
    if (good_height, good_width, good_frames) == (height, width, frames) {
        return Ok(video);
    }
    let compression = model.spatial_compression();
    if (good_height, good_width) != (height, width) {
        let problem = format!("height and width must be multiples of {compression} to be compared");
        if asked.size.is_some() {
            let problem = format!("--size {height}x{width}: {problem}; ask for {good_height}x{good_width}");
            return Err(media::Error::InvalidClip { problem }.into());
        }
        console.note(&format!("note: {problem}: brought from {height}x{width} to {good_height}x{good_width}"));
    }
    if good_frames != frames {
        let problem = format!("{} do not come back from their latents as {frames}", counted(frames, "frame"));
        if asked.frames.is_some() {
            let problem = format!("{problem}; ask for --frames {good_frames}");
            return Err(media::Error::InvalidClip { problem }.into());
        }
        let verb = if good_frames == 1 { "is" } else { "are" };
        console.note(&format!("note: {problem}: the first {good_frames} {verb} taken"));
    }
    video.resized(good_height, good_width, good_frames)
}

/// The options with a budget from which what comparing holds is taken away: of a step's frames the
/// source, both side by side and the pixels on their way to a picture; for each thread a frame in
/// f64 with the means that similarity is made of.
fn with_room_to_compare(mut options: RunOptions, vae: &Vae, clip: ClipShape) -> Result<RunOptions, Error> {
    let frame = [clip.channels, clip.height, clip.width].into_iter().fold(size_of::<f32>(), usize::saturating_mul);
    let model = vae.model();
    let latent_frames = model.encoded_frames(clip.frames);
    let frames = match options.frame_tiling(model, Half::Decoder, latent_frames)? {
        Some(tiling) => tiling.stride.saturating_add(1),
        None => {
            let latent_frames = options.frame_steps(model, Half::Decoder)?.most(latent_frames);
            model.result_frames(StepKind::new(Half::Decoder, Position::Next), latent_frames)
        }
    };
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZero::get));
    options.taken = frame.saturating_mul(4 * frames + 12 * threads) as u64;
    Ok(options)
}

/// `clip.mp4` -> `clip.png`, `frames/` -> `frames.png`.
fn sheet_path(output: &Path) -> PathBuf {
    output.components().collect::<PathBuf>().with_extension("png")
}

/// The mean of the video's latents, unscaled.
fn encode(vae: &Vae, video: &Video, options: &RunOptions, console: Console) -> Result<(Latents, Report), Error> {
    let moments = vae.encoded_shape(&video.shape)?;
    let shape = ClipShape { channels: vae.model().channels().latents, ..moments };
    let mut latents = VideoBuilder::new("the latents", shape)?;
    let mut posterior = Posterior::new(Draw::Mean, shape.channels, moments.channels);
    let mut source = video.frames()?;
    let mut next = |sample, frames| source.next(sample, frames);
    let mut sink = |sample, block: &FrameBlock<'_>| {
        let means = posterior.latents(block);
        latents.add(sample, &FrameBlock { data: &means, frames: block.frames });
        Ok(())
    };
    let encode = |bar: &mut Bar| vae.encode_stream(&video.shape, &mut next, options, &mut sink, bar);
    let report = with_bar(console, "encoding", Error::Interrupted, encode)?;
    let tessera::Video { data, shape } = latents.finish();
    Ok((Latents { data, shape }, report))
}

fn frames_json(clip: ClipShape, frames: &[FrameQuality]) -> Value {
    let one = |(i, quality): (usize, &FrameQuality)| json!({"sample": i / clip.frames, "frame": i % clip.frames, "psnr_db": quality.psnr_db, "ssim": quality.ssim});
    frames.iter().enumerate().map(one).collect()
}

fn frames_table(clip: ClipShape, frames: &[FrameQuality]) -> String {
    let mut rows = vec![["sample", "frame", "PSNR dB", "SSIM"].map(String::from)];
    rows.extend(frames.iter().enumerate().map(|(i, quality)| {
        let ssim = quality.ssim.map_or("-".into(), |ssim| format!("{ssim:.4}"));
        [(i / clip.frames).to_string(), (i % clip.frames).to_string(), format!("{:.3}", quality.psnr_db), ssim]
    }));
    if clip.batch > 1 {
        return table::table(&rows, &[0, 1, 2, 3]);
    }
    table::table(&rows.into_iter().map(|[_, frame, psnr, ssim]| [frame, psnr, ssim]).collect::<Vec<_>>(), &[0, 1, 2])
}
