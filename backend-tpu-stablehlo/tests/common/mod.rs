//! The plugin that tests run on, programs, and running one.

#![allow(dead_code, reason = "each test crate uses its part")]

pub(crate) mod programs;

use backend_tpu_stablehlo::pjrt::{
    Attributes, Buffer, Client, CompileOptions, Device, Input, NamedValue, Plugin, Signature,
};
use backend_tpu_stablehlo::{Argument, ArgumentRole, EmitOptions, emit};
use half::bf16;
use ir::eval::{Bindings, Leaf, LeafKind, evaluate};
use ir::{ElementType, Graph};

/// A client with so many CPU devices.
pub(crate) fn client(test: &str, devices: i64) -> Option<Client> {
    let plugin = Plugin::load(&needs::plugin(test)?).expect("the plugin loads");
    let options = Attributes::from([("cpu_device_count".to_owned(), NamedValue::Integer(devices))]);
    Some(Client::new(&plugin, &options).expect("a client"))
}

/// Compiles `graph`, a final one, and runs it on the client's first device: every output's numbers.
pub(crate) fn run(client: &Client, graph: &Graph, options: &EmitOptions, leaves: &impl Bindings<f32>) -> Vec<Vec<f32>> {
    let device = &client.devices().expect("devices")[0];
    let module = emit(graph, options).expect("every op has a form");
    let text = module.text.as_bytes();
    let program = client.compile(text, Signature::from(&module), &CompileOptions::default()).expect("it compiles");
    let arguments = module.arguments.iter().map(|argument| Input::Donate(put(device, argument, leaves))).collect();
    let results = program.run(vec![arguments]).expect("it runs").wait().expect("it runs to its end").swap_remove(0);
    results.iter().map(fetch).collect()
}

/// What an argument is given.
fn put(device: &Device, argument: &Argument, leaves: &impl Bindings<f32>) -> Buffer {
    let leaf = |kind| {
        let tensor = leaves.tensor(Leaf { kind, name: &argument.name, ty: &argument.ty });
        tensor.expect("a tensor for every leaf").into_owned()
    };
    let tensor = match &argument.role {
        ArgumentRole::Input => leaf(LeafKind::Input),
        ArgumentRole::State => leaf(LeafKind::State),
        ArgumentRole::Weight(recipe) => evaluate(recipe.graph(), leaves).expect("a recipe").swap_remove(0).1,
    };
    match argument.ty.element {
        ElementType::Bf16 => device.put(tensor.data.into_iter().map(bf16::from_f32).collect(), &argument.ty),
        _ => device.put(tensor.data, &argument.ty),
    }
    .expect("a buffer")
}

fn fetch(buffer: &Buffer) -> Vec<f32> {
    match buffer.ty().element {
        ElementType::Bf16 => buffer.fetch::<bf16>().unwrap().wait().unwrap().into_iter().map(bf16::to_f32).collect(),
        ElementType::I8 => buffer.fetch::<i8>().unwrap().wait().unwrap().into_iter().map(f32::from).collect(),
        _ => buffer.fetch::<f32>().unwrap().wait().unwrap(),
    }
}
