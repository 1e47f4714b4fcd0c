//! Compiling ahead of time: every distinct step of a video, for a device that need not be there,
//! and what its compiler says of memory and time. Compiling itself is done in child processes, by
//! [`backend_tpu_stablehlo::pjrt::child`].

use std::path::PathBuf;

use backend_tpu_stablehlo::pjrt::child::{ChildError, Compilation, Reexecution, Watch};
use backend_tpu_stablehlo::pjrt::{CompileOptions, Optimization};
use backend_tpu_stablehlo::{EmitOptions, Mesh};
use frontend::{Autoencoder, Half, Step, StepKind, Taps, declare};
use ir::analysis::{total_cost, weight_only};
use ir::{Graph, Role, Value};
use passes::inline::{inlined, reads};
use passes::{Precision, tpu_pipeline};

use crate::error::{Error, Result};
use tessera::lowering;
use tessera::options::{FrameTilingChoice, RunOptions, TilingChoice};
use tessera::route::{Route, TileOrder};
use tessera::tile_sizes::candidates;
use tessera::tiling::{Grid, Overlap, Tiling};

/// For what to compile, and with what.
#[derive(Debug, Clone)]
pub struct Target {
    /// The plugin's file.
    pub plugin: PathBuf,
    /// The topology as the plugin names it, such as `v6e:1x1`.
    pub topology: String,
    /// How the devices share the work.
    pub mesh: Mesh,
    /// How hard to optimise.
    pub optimization: Optimization,
    /// How this program starts itself again.
    pub reexecution: Reexecution,
}

/// A video to be prepared for.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// The model.
    pub model: &'a dyn Autoencoder,
    /// Which half of it.
    pub half: Half,
    /// Frames, height and width of the video in pixels.
    pub video: [usize; 3],
    /// Steps of this kind alone.
    pub kind: Option<StepKind>,
    /// In which tiles.
    pub tiling: TilingChoice,
    /// What neighbouring tiles have in common; by default what those of the reference have.
    pub overlap: Option<Overlap>,
    /// Whether it is cut along time.
    pub frame_tiling: FrameTilingChoice,
    /// What is computed in.
    pub precision: Precision,
}

/// A compiled step.
#[derive(Debug, Clone)]
pub struct CompiledStep {
    /// Which.
    pub step: Step,
    /// How often the video runs it.
    pub runs: usize,
    /// What the compiler made and said.
    pub compilation: Compilation,
    /// Arithmetic of one run on all devices, by our own count.
    pub flops: u64,
    /// What it leaves to the next step on each device, in bytes.
    pub states: u64,
    /// How long one run takes, if anything is known.
    pub estimate: Option<Estimate>,
}

/// How long a run takes at best, without what devices tell each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// In seconds.
    pub seconds: f64,
    /// Where the figure is from.
    pub basis: Basis,
}

/// Where an estimate is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The compiler says so.
    Compiler,
    /// What the device's arithmetic and memory allow at most, since the compiler says nothing that
    /// makes sense.
    Roofline,
}

/// All that a video needs.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The tiles; `None` for whole frames.
    pub tiling: Option<Tiling>,
    /// Rows and columns of tiles.
    pub tiles: [usize; 2],
    /// The order of tiles that fits.
    pub order: TileOrder,
    /// The distinct steps, the largest first.
    pub steps: Vec<CompiledStep>,
    /// Bytes on the device at the worst moment, states of tiles that wait included.
    pub needed: u64,
    /// Bytes that the device has, where the plugin says it.
    pub device_memory: Option<u64>,
    /// How long all runs take, if it is known of each.
    pub seconds: Option<f64>,
}

/// Where preparing is.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A step is being compiled.
    Compiling {
        /// Which.
        step: &'a Step,
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// These tiles, or whole frames, do not fit; smaller ones are tried.
    TooLarge(Option<&'a Tiling>),
}

/// What a device can do at most. From Google's published figures; a device is a chip for all of
/// these.
struct Device {
    /// As the plugin names it.
    kind: &'static str,
    /// Floating-point operations a second, in bf16.
    flops: f64,
    /// Bytes a second between the device and its memory.
    bandwidth: f64,
}

const DEVICES: [Device; 3] = [
    Device { kind: "TPU v6 lite", flops: 918e12, bandwidth: 1.64e12 },
    Device { kind: "TPU v5", flops: 459e12, bandwidth: 2.765e12 },
    Device { kind: "TPU v5 lite", flops: 197e12, bandwidth: 0.819e12 },
];

/// Of a device's memory, what programs are planned to use when tiles are chosen: the rest is for
/// what the runtime holds.
const USED_SHARE: f64 = 0.95;

impl Job<'_> {
    /// [B, C, T, H, W] of the input.
    fn shape(&self) -> [usize; 5] {
        let ([frames, height, width], model) = (self.video, self.model);
        let [frames, height, width] = match self.half {
            Half::Encoder => [frames, height, width],
            Half::Decoder => [model.encoded_frames(frames), model.latent_size(height), model.latent_size(width)],
        };
        [1, model.input_channels(self.half), frames, height, width]
    }

    /// What tiles have in common: what was asked for, or what the reference's have.
    fn overlap(&self) -> Overlap {
        self.overlap.unwrap_or_else(|| Overlap::of(self.model, self.half))
    }

    /// Compiles every distinct step. With [`TilingChoice::Auto`], of the largest tiles that fit the
    /// device.
    ///
    /// # Errors
    /// [`tessera::Error::Input`] for an empty video; [`tessera::Error::Tiling`];
    /// [`tessera::Error::Options`] if the video has no step of the kind asked
    /// for; what declaring a step reports; [`tessera::Error::PluginChild`] with what the plugin
    /// says; [`Error::DeviceMemory`] if a step needs more memory than the device has;
    /// [`tessera::Error::Interrupted`].
    pub fn prepare(&self, target: &Target, tell: &mut dyn FnMut(Event<'_>), watch: &mut Watch<'_>) -> Result<Prepared> {
        let shape @ [.., height, width] = self.shape();
        if shape.contains(&0) {
            let empty = tessera::Error::Input { what: "a video", found: shape, problem: "an axis is empty".into() };
            return Err(empty.into());
        }
        let whole = Grid::whole(self.model, self.half, height, width);
        if self.tiling == TilingChoice::Auto {
            return self.largest_that_fits(target, tell, watch);
        }
        let asked = self.tiling.tiling(self.model, self.half, self.overlap)?;
        match asked.filter(|tiling| tiling.applies(self.model, self.half, height, width)) {
            None => self.compile(None, whole, target, tell, watch),
            Some(tiling) => {
                let grid = tiling.grid(self.model, self.half, height, width)?;
                self.compile(Some(tiling), grid, target, tell, watch)
            }
        }
    }

    /// Searches the largest tiles that fit. Compiling takes minutes, so the search goes by what was
    /// learnt: the memory of a step is nearly a multiple of its area, and of all steps the
    /// largest decides. It begins with the tiles that are nearest to diffusers' own.
    fn largest_that_fits(
        &self,
        target: &Target,
        tell: &mut dyn FnMut(Event<'_>),
        watch: &mut Watch<'_>,
    ) -> Result<Prepared> {
        let [.., height, width] = self.shape();
        let usual = Tiling { overlap: self.overlap(), ..Tiling::of(self.model, self.half) }.nearest(self.model);
        let whole = (height * width, None, Grid::whole(self.model, self.half, height, width));
        let tiled = candidates(self.model, self.half, [height, width], self.overlap());
        let tiled = tiled.into_iter().map(|found| (found.tile_area, Some(found.tiling), found.grid));
        // The largest first.
        let choices: Vec<_> = std::iter::once(whole).chain(tiled).collect();
        let usual_area = match self.half {
            Half::Decoder => self.model.latent_size(usual.height) * self.model.latent_size(usual.width),
            Half::Encoder => usual.height * usual.width,
        };
        let mut next = choices.iter().position(|(area, ..)| *area <= usual_area).unwrap_or(choices.len() - 1);
        let (mut too_large, mut best) = (None::<usize>, None::<(usize, Started)>);
        let started = loop {
            let (area, tiling, grid) = &choices[next];
            match self.start(*tiling, grid.clone(), target, tell, watch) {
                Ok(started) if started.demand().fits() => {
                    // Those in front of it are larger. Which would still fit, by area?
                    let Demand { needed, available, .. } = started.demand();
                    let room = available.map_or(f64::INFINITY, |bytes| bytes as f64 * USED_SHARE);
                    let most = *area as f64 * room / needed.max(1) as f64;
                    let first = too_large.map_or(0, |index| index + 1);
                    match (first..next).find(|&index| choices[index].0 as f64 <= most) {
                        Some(larger) => (best, next) = (Some((next, started)), larger),
                        None => break started,
                    }
                }
                Err(error) if !matches!(error, Error::DeviceMemory { .. }) => return Err(error),
                refused => {
                    tell(Event::TooLarge(tiling.as_ref()));
                    too_large = Some(next);
                    next += 1;
                    match best {
                        Some((index, started)) if index == next => break started,
                        None if next == choices.len() => break refused?,
                        _ => {}
                    }
                }
            }
        };
        self.finish(started, target, tell, watch)
    }

    /// Compiles the steps of one way to cut frames.
    fn compile(
        &self,
        tiling: Option<Tiling>,
        grid: Grid,
        target: &Target,
        tell: &mut dyn FnMut(Event<'_>),
        watch: &mut Watch<'_>,
    ) -> Result<Prepared> {
        self.finish(self.start(tiling, grid, target, tell, watch)?, target, tell, watch)
    }

    /// Compiles the largest step of one way to cut frames: if one does not fit, it is that one.
    fn start(
        &self,
        tiling: Option<Tiling>,
        grid: Grid,
        target: &Target,
        tell: &mut dyn FnMut(Event<'_>),
        watch: &mut Watch<'_>,
    ) -> Result<Started> {
        let tiles = [grid.rows.len(), grid.columns.len()];
        let (model, half, shape) = (self.model, self.half, self.shape());
        let options = RunOptions::default().with_frame_tiling(self.frame_tiling);
        let (steps, tiling_of_time) = (model.frame_steps(half), options.frame_tiling(model, half, shape[2])?);
        let route = Route::new(model, half, shape, steps, tiling_of_time, grid, TileOrder::FrameMajor)?;
        let mut steps = self.distinct(&route);
        steps.sort_by_key(|(step, _)| std::cmp::Reverse(step.frames * step.height * step.width));
        let Some(&(step, runs)) = steps.first() else {
            let kind = self.kind.map_or(String::new(), |kind| format!(" {kind}"));
            let problem = format!("the video has no step{kind}: it has too few frames, or more than go into one step");
            return Err(tessera::Error::Options { problem }.into());
        };
        tell(Event::Compiling { step: &step, number: 1, of: steps.len() });
        let largest = self.compile_step(step, runs, target, watch)?;
        Ok(Started { tiling, tiles, largest, others: steps.split_off(1) })
    }

    /// Compiles the other steps.
    fn finish(
        &self,
        started: Started,
        target: &Target,
        tell: &mut dyn FnMut(Event<'_>),
        watch: &mut Watch<'_>,
    ) -> Result<Prepared> {
        let Started { tiling, tiles, largest, others } = started;
        let of = others.len() + 1;
        let mut steps = vec![largest];
        for (number, (step, runs)) in (2..).zip(others) {
            tell(Event::Compiling { step: &step, number, of });
            steps.push(self.compile_step(step, runs, target, watch)?);
        }
        let Demand { order, needed, available } = Demand::of(&steps, tiles);
        let seconds = steps.iter().map(|step| Some(step.estimate?.seconds * step.runs as f64)).sum();
        Ok(Prepared { tiling, tiles, order, steps, needed, device_memory: available, seconds })
    }

    /// The distinct steps, with how often each runs.
    fn distinct(&self, route: &Route) -> Vec<(Step, usize)> {
        let batches = route.batches();
        let mut steps: Vec<(Step, usize)> = vec![];
        for tile in route.grid.places() {
            for batch in 0..batches.len() {
                let step = route.step(batch, tile);
                match steps.iter_mut().find(|(known, _)| *known == step) {
                    Some((_, runs)) => *runs += 1,
                    None if self.kind.is_none_or(|kind| kind == step.kind) => steps.push((step, 1)),
                    None => {}
                }
            }
        }
        steps
    }

    fn compile_step(&self, step: Step, runs: usize, target: &Target, watch: &mut Watch<'_>) -> Result<CompiledStep> {
        let Target { plugin, topology, mesh, optimization, reexecution } = target;
        let step = Step { batch: mesh.data, ..step };
        let graph = declare(self.model, &step, &Taps::None)?;
        let graph = lowering::optimize(&step, &graph, tpu_pipeline(self.precision))?;
        let module = lowering::stablehlo(&step, &graph, &EmitOptions::default().with_mesh(*mesh))?;
        let devices = mesh.devices();
        let options = CompileOptions::default().with_partitions(devices).with_optimization(*optimization);
        let compilation = reexecution.compile(plugin, topology, &module.text, &options, watch);
        let compilation = compilation.map_err(|error| match error {
            ChildError::Refused(refusal) if refusal.is_out_of_memory => {
                let (step, target) = (step.to_string(), topology.clone());
                Error::DeviceMemory { step, target, problem: refusal.problem().into() }
            }
            error => error.into(),
        })?;
        let states = module.results.iter().filter(|result| result.role == Role::State);
        let states = states.map(|result| mesh.share(&result.ty).bytes() as u64).sum();
        let flops = total_cost(&graph).flops;
        let estimate = estimate(&compilation, devices, flops, bytes_moved(&graph));
        log::debug!("{step}: {:?}, {:?}", compilation.memory, compilation.cost);
        Ok(CompiledStep { step, runs, compilation, flops, states, estimate })
    }
}

/// One way to cut frames, with the largest step compiled.
struct Started {
    tiling: Option<Tiling>,
    tiles: [usize; 2],
    largest: CompiledStep,
    /// The other steps, and how often each runs.
    others: Vec<(Step, usize)>,
}

impl Started {
    /// What the largest step needs, which is nearly always what the video needs.
    fn demand(&self) -> Demand {
        Demand::of(std::slice::from_ref(&self.largest), self.tiles)
    }
}

/// Memory of the device at the worst moment.
struct Demand {
    /// The order of tiles that fits.
    order: TileOrder,
    needed: u64,
    available: Option<u64>,
}

impl Demand {
    /// Of these steps, where frames are cut into so many rows and columns of tiles.
    fn of(steps: &[CompiledStep], tiles: [usize; 2]) -> Demand {
        let most = |of: fn(&CompiledStep) -> u64| steps.iter().map(of).max().unwrap_or(0);
        let available = steps.iter().find_map(|step| step.compilation.device_memory);
        let alone = most(|step| step.compilation.memory.total());
        // Tile by tile, no other tile's states wait.
        let together = alone + most(|step| step.states) * (tiles[0] * tiles[1] - 1) as u64;
        let (order, needed) = match available {
            Some(bytes) if together > bytes => (TileOrder::TileMajor, alone),
            _ => (TileOrder::FrameMajor, together),
        };
        Demand { order, needed, available }
    }

    fn fits(&self) -> bool {
        self.available.is_none_or(|bytes| self.needed <= bytes)
    }
}

impl Prepared {
    /// Whether the device's memory takes it, as far as is known.
    pub fn fits(&self) -> bool {
        self.device_memory.is_none_or(|bytes| self.needed <= bytes)
    }
}

/// Bytes that a step reads and writes at least: of each op that makes a tensor of its own, what it
/// reads and makes.
fn bytes_moved(graph: &Graph) -> u64 {
    let (inlined, weight_only) = (inlined(graph), weight_only(graph));
    let bytes = |value: Value| graph.ty(value).bytes() as u64;
    let made = graph.nodes().filter(|(value, node)| {
        let [inlined, weight_only] = [&inlined, &weight_only].map(|of| of[value.index()]);
        !inlined && !weight_only && !node.op.is_leaf()
    });
    made.map(|(value, node)| bytes(value) + reads(graph, &inlined, &node.op).iter().map(|&v| bytes(v)).sum::<u64>())
        .sum()
}

/// How long a run takes. The compiler's own figure, unless it is below the roofline or out of all
/// proportion: it counts a loop's body once, and for whole networks it has come out negative. Of
/// the bytes ours may be more for the same reason.
fn estimate(compilation: &Compilation, devices: usize, flops: u64, bytes: u64) -> Option<Estimate> {
    const MOST_TIMES: f64 = 1000.0;
    let device = DEVICES.iter().find(|device| device.kind == compilation.devices.0)?;
    let cost = compilation.cost;
    let arithmetic = flops as f64 / devices as f64 / device.flops;
    let bytes = cost.bytes_accessed.unwrap_or(0.0).max(bytes as f64 / devices as f64);
    let roofline = arithmetic.max(bytes / device.bandwidth);
    let compiler = cost.optimal_seconds.filter(|seconds| (roofline..=arithmetic * MOST_TIMES).contains(seconds));
    Some(match compiler {
        Some(seconds) => Estimate { seconds, basis: Basis::Compiler },
        None => Estimate { seconds: roofline, basis: Basis::Roofline },
    })
}

#[cfg(test)]
mod tests {
    use backend_tpu_stablehlo::pjrt::{CostAnalysis, MemoryStatistics};

    use super::*;

    fn compilation(optimal_seconds: f64) -> Compilation {
        Compilation {
            devices: ("TPU v6 lite".into(), 1),
            device_memory: Some(32 << 30),
            seconds: 1.0,
            memory: MemoryStatistics { arguments: 1 << 30, ..MemoryStatistics::default() },
            cost: CostAnalysis { optimal_seconds: Some(optimal_seconds), bytes_accessed: Some(1.64e10), flops: None },
            stablehlo: None,
            executable: vec![],
        }
    }

    #[test]
    fn estimates_that_make_no_sense_give_way_to_the_roofline() {
        let flops = 918_000_000_000;
        let sensible = Estimate { seconds: 0.012, basis: Basis::Compiler };
        assert_eq!(estimate(&compilation(0.012), 1, flops, 0), Some(sensible));
        for nonsense in [-48.0, 0.0, 1e-4, 0.002, 10.0, f64::NAN] {
            let found = estimate(&compilation(nonsense), 1, flops, 1 << 30).unwrap();
            assert_eq!(found.basis, Basis::Roofline);
            assert!((found.seconds - 0.01).abs() < 1e-12, "{found:?}");
            // What the compiler leaves out is ours to count.
            let found = estimate(&compilation(nonsense), 2, flops, 65_600_000_000).unwrap();
            assert!((found.seconds - 0.02).abs() < 1e-12, "{found:?}");
        }
        let other = Compilation { devices: ("TPU v99".into(), 1), ..compilation(0.002) };
        assert_eq!(estimate(&other, 1, flops, 0), None);
    }
}
