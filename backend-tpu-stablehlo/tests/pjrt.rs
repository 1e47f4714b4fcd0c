//! The client on a CPU plugin: compiling, running, donating, copying, and what is refused.

mod common;

use std::path::Path;

use backend_tpu_stablehlo::pjrt::{
    ArgumentType, Client, CompileOptions, Error, Input, LoadedExecutable, Optimization, Plugin, Signature, Topology,
};
use common::client;
use ir::{ElementType, TensorType};

/// `x + y`, written over `x`.
const ADD: &str = "
func.func public @main(%x: tensor<2x3xf32> {tf.aliasing_output = 0 : i32}, %y: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %0 = stablehlo.add %x, %y : tensor<2x3xf32>
  return %0 : tensor<2x3xf32>
}";

fn ty(shape: [usize; 2]) -> TensorType {
    TensorType::plain(ElementType::F32, shape)
}

fn signature(donated: bool) -> Signature {
    let arguments = [donated, false].map(|donated| ArgumentType { ty: ty([2, 3]), donated }).to_vec();
    Signature { arguments, results: vec![ty([2, 3])] }
}

fn add(client: &Client) -> LoadedExecutable {
    client.compile(ADD.as_bytes(), signature(true), &CompileOptions::default()).expect("it compiles")
}

#[test]
fn runs_and_donates() {
    let Some(client) = client("runs_and_donates", 1) else { return };
    let device = &client.devices().unwrap()[0];
    let program = add(&client);
    let values = |from: u8| (from..from + 6).map(f32::from).collect::<Vec<_>>();
    let y = device.put_slice(&values(10), &ty([2, 3])).unwrap();
    let mut x = device.put(values(0), &ty([2, 3])).unwrap();
    // What is donated goes from run to run; the other stays.
    for run in 1..=3_u8 {
        let results = program.run(vec![vec![Input::Donate(x), Input::Keep(&y)]]).unwrap().results;
        x = results.into_iter().flatten().next().unwrap();
        let expected: Vec<_> = (0..6_u8).map(|i| f32::from(i) + f32::from(run) * f32::from(i + 10)).collect();
        assert_eq!(x.fetch::<f32>().unwrap().wait().unwrap(), expected);
    }
    // A buffer that is kept is as it was, though the program writes over this argument.
    let before = x.fetch::<f32>().unwrap().wait().unwrap();
    let run = program.run(vec![vec![Input::Keep(&x), Input::Keep(&y)]]).unwrap();
    let results = run.wait().unwrap();
    assert_eq!(x.fetch::<f32>().unwrap().wait().unwrap(), before);
    assert_ne!(results[0][0].fetch::<f32>().unwrap().wait().unwrap(), before);
    x.wait().unwrap();
    assert!(x.is_ready().unwrap());
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(client) = client("what_does_not_fit_is_refused", 2) else { return };
    let devices = client.devices().unwrap();
    assert_eq!(devices.len(), 2);
    let (here, there) = (&devices[0], &devices[1]);
    let program = add(&client);
    let y = here.put_slice(&[0.5_f32; 6], &ty([2, 3])).unwrap();
    let refused = |inputs: Vec<Vec<Input<'_>>>| match program.run(inputs) {
        Err(Error::Mismatch(problem)) => problem,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it ran"),
    };
    // As many bytes, another type: a plugin would take it.
    let integers = here.put_slice(&[1_i32; 6], &TensorType::plain(ElementType::I32, [2, 3])).unwrap();
    let problem = refused(vec![vec![Input::Keep(&y), Input::Keep(&integers)]]);
    assert_eq!(problem, "argument 1 is tensor<2x3xi32>, the program takes tensor<2x3xf32>");
    let turned = here.put_slice(&[1.0_f32; 6], &ty([3, 2])).unwrap();
    assert!(refused(vec![vec![Input::Keep(&turned), Input::Keep(&y)]]).starts_with("argument 0 is tensor<3x2xf32>"));
    let far = there.put_slice(&[1.0_f32; 6], &ty([2, 3])).unwrap();
    assert!(refused(vec![vec![Input::Keep(&far), Input::Keep(&y)]]).contains("is on device"));
    assert_eq!(refused(vec![vec![Input::Keep(&y)]]), "1 arguments, the program takes 2");
    assert_eq!(refused(vec![]), "arguments for 0 devices, the program runs on 1");

    for error in [
        here.put_slice(&[1.0_f32; 5], &ty([2, 3])).unwrap_err(),
        here.put(vec![1_i8; 6], &ty([2, 3])).unwrap_err(),
        y.fetch::<i32>().err().unwrap(),
    ] {
        assert!(matches!(error, Error::Mismatch(_)), "{error}");
    }
}

#[test]
fn what_does_not_compile_is_told() {
    let Some(client) = client("what_does_not_compile_is_told", 1) else { return };
    let compile = |text: &str, signature| client.compile(text.as_bytes(), signature, &CompileOptions::default()).err();
    let error = compile("func.func public @main() { nonsense }", signature(true)).unwrap();
    assert!(matches!(error, Error::Plugin { function: "PJRT_Client_Compile", .. }), "{error}");
    assert!(error.to_string().contains("nonsense"), "{error}");
    let other = Signature { results: vec![ty([3, 2])], ..signature(true) };
    let error = compile(ADD, other).unwrap().to_string();
    assert!(error.ends_with("returns (tensor<2x3xf32>), expected (tensor<3x2xf32>)"), "{error}");
    assert!(Topology::new(client.plugin(), "v6e:1x1").is_err());
}

#[test]
fn programs_are_serialized_and_describe_themselves() {
    let Some(client) = client("programs_are_serialized_and_describe_themselves", 1) else { return };
    let device = &client.devices().unwrap()[0];
    let program = add(&client);
    let bytes = program.executable().serialize().unwrap();
    let loaded = client.load(&bytes, signature(true)).unwrap();
    let x = device.put(vec![2.0_f32; 6], &ty([2, 3])).unwrap();
    let results = loaded.run(vec![vec![Input::Keep(&x), Input::Keep(&x)]]).unwrap().wait().unwrap();
    assert_eq!(results[0][0].fetch::<f32>().unwrap().wait().unwrap(), [4.0; 6]);
    let memory = program.executable().memory().unwrap();
    assert_eq!((memory.arguments, memory.results, memory.aliased), (48, 24, 24));
    assert!(memory.total() >= 48);
    assert!(client.load(&bytes[..bytes.len() / 2], signature(true)).is_err());

    assert_eq!(client.platform().unwrap().0, "cpu");
    assert_eq!(device.description().kind, "cpu");
    let plugin = client.plugin();
    assert!(plugin.attributes().contains_key("stablehlo_current_version"), "{:?}", plugin.attributes());
    assert_eq!(Plugin::load(plugin.path()).unwrap().api_version(), plugin.api_version());
}

#[test]
fn one_program_on_four_devices() {
    let Some(client) = client("one_program_on_four_devices", 4) else { return };
    // Every row is the sum of it and the row above: a device needs its neighbour's last row.
    let module = r#"
sdy.mesh @mesh = <["height"=4]>
func.func public @main(%x: tensor<8x3xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"height"}, {}]>})
    -> (tensor<8x3xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"height"}, {}]>}) {
  %zero = stablehlo.constant dense<0.0> : tensor<f32>
  %above = stablehlo.slice %x [0:7, 0:3] : (tensor<8x3xf32>) -> tensor<7x3xf32>
  %shifted = stablehlo.pad %above, %zero, low = [1, 0], high = [0, 0], interior = [0, 0]
      : (tensor<7x3xf32>, tensor<f32>) -> tensor<8x3xf32>
  %sum = stablehlo.add %x, %shifted : tensor<8x3xf32>
  return %sum : tensor<8x3xf32>
}"#;
    let signature =
        Signature { arguments: vec![ArgumentType { ty: ty([2, 3]), donated: false }], results: vec![ty([2, 3])] };
    let options = CompileOptions::default().with_partitions(4).with_optimization(Optimization::O1);
    let program = client.compile(module.as_bytes(), signature, &options).unwrap();
    let devices = client.devices().unwrap();
    assert_eq!(program.devices().len(), 4);
    let row = |index: usize| (0..3).map(move |column| (3 * index + column) as f32);
    let shares: Vec<_> = devices
        .iter()
        .enumerate()
        .map(|(i, device)| device.put(row(2 * i).chain(row(2 * i + 1)).collect(), &ty([2, 3])).unwrap())
        .collect();
    let results = program.run(shares.into_iter().map(|share| vec![Input::Donate(share)]).collect()).unwrap();
    let results = results.wait().unwrap();
    let found: Vec<f32> = results.iter().flat_map(|list| list[0].fetch::<f32>().unwrap().wait().unwrap()).collect();
    let expected: Vec<f32> = (0..24).map(|i| if i < 3 { i as f32 } else { (2 * i - 3) as f32 }).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_is_no_plugin_is_told() {
    let missing = Plugin::load(Path::new("/nowhere/plugin.so")).err().unwrap().to_string();
    assert!(missing.starts_with("/nowhere/plugin.so: cannot be loaded as a PJRT plugin: "), "{missing}");
    let text = Plugin::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).err().unwrap();
    assert!(matches!(&text, Error::Load { .. }), "{text}");
    let folder = Plugin::load(Path::new(env!("CARGO_MANIFEST_DIR"))).err().unwrap().to_string();
    assert!(folder.ends_with("it is a folder; name the shared library in it"), "{folder}");
}

/// A shared library without GetPjrtApi that every Linux with glibc has loaded.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_library_that_is_no_plugin_is_told() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps.split_whitespace().find(|word| word.ends_with("/libc.so.6")).expect("glibc");
    let error = Plugin::load(Path::new(libc)).err().unwrap();
    assert!(matches!(&error, Error::NotAPlugin { .. }), "{error}");
    assert!(error.to_string().contains("it has no GetPjrtApi"), "{error}");
}

#[test]
fn plugins_load_once() {
    let Some(path) = needs::plugin("plugins_load_once") else { return };
    let first = Plugin::load(&path).unwrap();
    assert_eq!(Plugin::load(&path).unwrap().path(), first.path());
}
