//! Python pickles as `torch.save` writes them, read without executing anything: a fixed list of
//! opcodes and of globals, and all else is refused by name. The list of globals is in `globals`.
//!
//! A pickle is a program for a stack machine that may call any function of Python. Here it builds
//! dictionaries, lists, texts, numbers and *descriptions* of tensors, and that is all it can do.
//! Objects lie in one list and refer to each other by place: objects that hold themselves are no
//! danger to this reader, and whoever walks them bounds the walk. Memory is bounded by
//! [`SIZE_LIMIT`] and [`OBJECT_LIMIT`].
//!
//! Kept crates read pickles of plain data (`serde-pickle`: no persistent ids, which is what
//! storages are) or are part of a whole framework (candle, burn).

use std::collections::HashMap;

use safetensors::Dtype;

use super::globals::Global;

/// The longest pickle that is read, in bytes: that of 436 tensors takes 60 kB.
pub(super) const SIZE_LIMIT: usize = 16 << 20;
/// The most objects that a pickle may make, and the most that may lie on its stack: 436 tensors
/// take some five thousand.
const OBJECT_LIMIT: usize = 1 << 20;

/// A value; what is large lies among the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A number, bytes or a device: of no consequence for tensors.
    Other,
    /// The place of an object.
    At(usize),
}

/// An object.
#[derive(Debug)]
pub(super) enum Object {
    Text(String),
    /// A tuple or a list.
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage(Storage),
    Tensor(Tensor),
    Global(Global),
}

/// Where numbers lie that tensors share: a file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    /// The file's name in the folder `data/`.
    pub(super) key: String,
    /// The type of its elements; `None` for bytes that are of the tensor's type.
    pub(super) dtype: Option<Dtype>,
}

/// A view into a storage, offset and strides in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) storage: Storage,
    pub(super) dtype: Dtype,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// What a pickle built.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) root: Value,
    objects: Vec<Object>,
}

impl Pickle {
    /// Runs the program in `bytes`.
    ///
    /// # Errors
    /// What is wrong, as a sentence about the pickle.
    pub(super) fn read(bytes: &[u8]) -> Result<Pickle, String> {
        if bytes.len() > SIZE_LIMIT {
            return Err(format!("its pickle is larger than {SIZE_LIMIT} bytes"));
        }
        let mut machine = Machine { bytes, at: 0, stack: vec![], marks: vec![], memo: HashMap::new(), objects: vec![] };
        while machine.step()? {}
        let root = machine.pop()?;
        Ok(Pickle { root, objects: machine.objects })
    }

    /// The object that `value` refers to.
    pub(super) fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::At(place) => self.objects.get(place),
            _ => None,
        }
    }
}

/// The stack machine.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack that opcodes marked.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    objects: Vec<Object>,
}

impl<'a> Machine<'a> {
    /// Executes one opcode; `false` at the end.
    fn step(&mut self) -> Result<bool, String> {
        let at = self.at;
        let [opcode] = self.fixed()?;
        match opcode {
            // PROTO, FRAME
            0x80 => self.fixed::<1>().map(drop)?,
            0x95 => self.fixed::<8>().map(drop)?,
            // MARK, STOP, POP, POP_MARK, DUP
            b'(' => self.marks.push(self.stack.len()),
            b'.' => return Ok(false),
            b'0' => self.pop().map(drop)?,
            b'1' => self.pop_mark().map(drop)?,
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            // BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
            b'J' => self.fixed().map(i32::from_le_bytes).and_then(|n| self.push(Value::Int(n.into())))?,
            b'K' => self.fixed().map(u8::from_le_bytes).and_then(|n| self.push(Value::Int(n.into())))?,
            b'M' => self.fixed().map(u16::from_le_bytes).and_then(|n| self.push(Value::Int(n.into())))?,
            0x8a => self.length::<1>().and_then(|length| self.long(length))?,
            0x8b => self.length::<4>().and_then(|length| self.long(length))?,
            b'G' => self.fixed::<8>().and_then(|_| self.push(Value::Other))?,
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, and BINSTRING, SHORT_BINSTRING of Python 2
            b'X' | b'T' => self.length::<4>().and_then(|length| self.text(length))?,
            0x8c | b'U' => self.length::<1>().and_then(|length| self.text(length))?,
            0x8d => self.length::<8>().and_then(|length| self.text(length))?,
            // BINBYTES, SHORT_BINBYTES, BINBYTES8
            b'B' => self.length::<4>().and_then(|length| self.skip(length))?,
            b'C' => self.length::<1>().and_then(|length| self.skip(length))?,
            0x8e => self.length::<8>().and_then(|length| self.skip(length))?,
            // EMPTY_TUPLE, TUPLE, TUPLE1 to TUPLE3, EMPTY_LIST, APPEND, APPENDS
            b')' | b']' => self.make(Object::List(vec![]))?,
            b't' => self.pop_mark().and_then(|items| self.make(Object::List(items)))?,
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(opcode - 0x84)).ok_or_else(empty)?;
                let items = self.stack.split_off(from);
                self.make(Object::List(items))?;
            }
            b'a' => self.pop().and_then(|item| self.append(vec![item]))?,
            b'e' => self.pop_mark().and_then(|items| self.append(items))?,
            // EMPTY_DICT, SETITEM, SETITEMS
            b'}' => self.make(Object::Dict(vec![]))?,
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            b'u' => self.pop_mark().and_then(|items| self.set_items(&items))?,
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => self.fixed().map(u8::from_le_bytes).and_then(|place| self.remember(place.into()))?,
            b'r' => self.fixed().map(u32::from_le_bytes).and_then(|place| self.remember(place))?,
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => self.fixed().map(u8::from_le_bytes).and_then(|place| self.recall(place.into()))?,
            b'j' => self.fixed().map(u32::from_le_bytes).and_then(|place| self.recall(place))?,
            // GLOBAL, INST, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
                return Err(unknown(opcode, at));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.as_text(module), self.as_text(name)) {
                    (Some(module), Some(name)) => self.global(&module, &name)?,
                    _ => return Err("a global in its pickle has no name".into()),
                }
            }
            // REDUCE, BUILD, BINPERSID
            b'R' => self.call()?,
            // Attributes: of a dictionary that holds a module's state its versions, of a tensor
            // nothing that counts.
            b'b' => self.pop().map(drop)?,
            b'Q' => self.persistent()?,
            _ => return Err(unknown(opcode, at)),
        }
        Ok(true)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or("its pickle is cut off; fetch the file again")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// A length in so many bytes.
    fn length<const N: usize>(&mut self) -> Result<usize, String> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(self.take(N)?);
        // One that is no usize is longer than the pickle.
        Ok(usize::try_from(u64::from_le_bytes(bytes)).unwrap_or(usize::MAX))
    }

    /// A line of text, without its end.
    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("its pickle is cut off in a name")?;
        let line = self.take(length + 1)?;
        std::str::from_utf8(&line[..length]).map_err(|_| "a name in its pickle is not text".into())
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        if self.stack.len() >= OBJECT_LIMIT {
            return Err(too_much());
        }
        self.stack.push(value);
        Ok(())
    }

    /// Puts a new object on the stack.
    fn make(&mut self, object: Object) -> Result<(), String> {
        if self.objects.len() >= OBJECT_LIMIT {
            return Err(too_much());
        }
        self.objects.push(object);
        self.push(Value::At(self.objects.len() - 1))
    }

    fn top(&self) -> Result<Value, String> {
        self.stack.last().copied().ok_or_else(empty)
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(empty)
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or_else(empty)?;
        Ok(self.stack.split_off(mark))
    }

    fn long(&mut self, length: usize) -> Result<(), String> {
        let digits = self.take(length)?;
        if length > 8 {
            return self.push(Value::Other);
        }
        let sign = if digits.last().is_some_and(|byte| *byte >= 0x80) { 0xff } else { 0 };
        let mut bytes = [sign; 8];
        bytes[..length].copy_from_slice(digits);
        self.push(Value::Int(i64::from_le_bytes(bytes)))
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.make(Object::Text(text))
    }

    fn skip(&mut self, length: usize) -> Result<(), String> {
        self.take(length)?;
        self.push(Value::Other)
    }

    fn append(&mut self, mut items: Vec<Value>) -> Result<(), String> {
        match self.top()? {
            Value::At(place) => match &mut self.objects[place] {
                Object::List(list) => {
                    list.append(&mut items);
                    Ok(())
                }
                _ => Err("its pickle appends to what is no list".into()),
            },
            _ => Err("its pickle appends to what is no list".into()),
        }
    }

    fn set_items(&mut self, items: &[Value]) -> Result<(), String> {
        let top = self.top()?;
        let Value::At(place) = top else { return Err("its pickle fills what is no dictionary".into()) };
        let Object::Dict(dict) = &mut self.objects[place] else {
            return Err("its pickle fills what is no dictionary".into());
        };
        let (pairs, rest) = items.as_chunks::<2>();
        dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        if rest.is_empty() { Ok(()) } else { Err("a dictionary in its pickle has a key without a value".into()) }
    }

    fn remember(&mut self, place: u32) -> Result<(), String> {
        let top = self.top()?;
        if self.memo.len() >= OBJECT_LIMIT {
            return Err(too_much());
        }
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), String> {
        let value = self.memo.get(&place).copied();
        self.push(value.ok_or_else(|| format!("its pickle refers to object {place}, which it does not have"))?)
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), String> {
        let global = Global::find(module, name).ok_or_else(|| {
            let shown = |text: &str| text.escape_debug().take(80).collect::<String>();
            format!(
                "its pickle would have Python load `{}.{}`, which is not among what tensors need; it was not executed. \
                 If you trust the file, load it in Python and save the dictionary of tensors alone (`state_dict()`), \
                 best as safetensors",
                shown(module),
                shown(name)
            )
        })?;
        self.make(Object::Global(global))
    }

    fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::At(place) => self.objects.get(place),
            _ => None,
        }
    }

    fn as_text(&self, value: Value) -> Option<String> {
        match self.object(value)? {
            Object::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn as_list(&self, value: Value) -> Option<&[Value]> {
        match self.object(value)? {
            Object::List(items) => Some(items),
            _ => None,
        }
    }

    fn as_global(&self, value: Value) -> Option<Global> {
        match self.object(value)? {
            Object::Global(global) => Some(*global),
            _ => None,
        }
    }

    /// A list of sizes, offsets or strides.
    fn as_sizes(&self, value: Value) -> Option<Vec<usize>> {
        self.as_list(value)?.iter().map(|value| as_size(*value)).collect()
    }

    /// Calls the global under its arguments.
    fn call(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let function = self.as_global(function).ok_or("its pickle calls what is no function")?;
        let arguments = self.as_list(arguments).ok_or("its pickle calls a function without arguments")?.to_vec();
        self.apply(function, &arguments)
    }

    /// Puts what `function` gives for `arguments` on the stack.
    fn apply(&mut self, function: Global, arguments: &[Value]) -> Result<(), String> {
        match (function, arguments) {
            (Global::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                let tensor = self.tensor(*storage, [*offset, *shape, *strides], None)?;
                self.make(Object::Tensor(tensor))
            }
            (Global::RebuildTensorV3, [storage, offset, shape, strides, _, _, dtype, ..]) => {
                let Some(Global::Dtype(dtype)) = self.as_global(*dtype) else { return Err(bad_tensor()) };
                let tensor = self.tensor(*storage, [*offset, *shape, *strides], Some(dtype))?;
                self.make(Object::Tensor(tensor))
            }
            (Global::RebuildParameter, [tensor, ..]) => self.push(*tensor),
            (Global::RebuildFromType, [function, class, arguments, ..]) => {
                let function = self.as_global(*function);
                let rebuilds = [Global::RebuildTensor, Global::RebuildTensorV3, Global::RebuildParameter];
                match (function, self.as_global(*class), self.as_list(*arguments)) {
                    (Some(function), Some(Global::TensorClass), Some(arguments)) if rebuilds.contains(&function) => {
                        let arguments = arguments.to_vec();
                        self.apply(function, &arguments)
                    }
                    _ => Err(bad_tensor()),
                }
            }
            (Global::OrderedDict, []) => self.make(Object::Dict(vec![])),
            // Of the list of its pairs, as Python 2 had it.
            (Global::OrderedDict, [pairs]) => {
                let pair = |pair: &Value| match self.as_list(*pair)? {
                    [key, value] => Some((*key, *value)),
                    _ => None,
                };
                let pairs = self.as_list(*pairs).and_then(|pairs| pairs.iter().map(pair).collect());
                self.make(Object::Dict(pairs.ok_or("an OrderedDict in its pickle is not made of pairs")?))
            }
            (Global::Size, [sizes]) => self.push(*sizes),
            (Global::Device, _) => self.push(Value::Other),
            _ => {
                Err(format!("its pickle calls {function:?} with {} arguments, which it does not take", arguments.len()))
            }
        }
    }

    /// A view into a storage; `dtype` is for storages that have no type.
    fn tensor(
        &self,
        storage: Value,
        [offset, shape, strides]: [Value; 3],
        dtype: Option<Dtype>,
    ) -> Result<Tensor, String> {
        let Some(Object::Storage(storage)) = self.object(storage) else { return Err(bad_tensor()) };
        let dtype = dtype.or(storage.dtype).ok_or_else(bad_tensor)?;
        let (Some(offset), Some(shape), Some(strides)) =
            (as_size(offset), self.as_sizes(shape), self.as_sizes(strides))
        else {
            return Err(bad_tensor());
        };
        if shape.len() != strides.len() || shape.len() > 64 {
            return Err(bad_tensor());
        }
        Ok(Tensor { storage: storage.clone(), dtype, offset, shape, strides })
    }

    /// A storage: `('storage', type, key, device, elements)`.
    fn persistent(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let storage = self.as_list(id).and_then(|id| {
            let [kind, class, key, ..] = id else { return None };
            match self.as_global(*class)? {
                Global::Storage(dtype) if self.as_text(*kind)? == "storage" => {
                    Some(Storage { key: self.as_text(*key)?, dtype })
                }
                _ => None,
            }
        });
        self.make(Object::Storage(storage.ok_or("a persistent id in its pickle is no storage of numbers")?))
    }
}

fn as_size(value: Value) -> Option<usize> {
    match value {
        Value::Int(size) => usize::try_from(size).ok(),
        _ => None,
    }
}

fn unknown(opcode: u8, at: usize) -> String {
    format!(
        "its pickle has opcode 0x{opcode:02x} at byte {at}, which is not among those that `torch.save` needs for \
         tensors; save a dictionary of tensors alone, as `state_dict()` gives it"
    )
}

fn empty() -> String {
    "its pickle takes more from its stack than there is; it is damaged".into()
}

fn too_much() -> String {
    format!("its pickle makes more than {OBJECT_LIMIT} objects; it holds something other than tensors")
}

fn bad_tensor() -> String {
    "a tensor in its pickle is not described as `torch.save` does; it is damaged".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(bytes: &[u8]) -> String {
        Pickle::read(bytes).unwrap_err()
    }

    #[test]
    fn plain_objects_are_built() {
        // {'a': (1, -2, True), 'b': [None]}, and a reference to what was remembered.
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00a(K\x01\x8a\x01\xfe\x88tX\x01\x00\x00\x00b](Nh\x00eu.";
        let pickle = Pickle::read(bytes).unwrap();
        let Some(Object::Dict(pairs)) = pickle.object(pickle.root) else { panic!("{pickle:?}") };
        let [(key, tuple), (_, list)] = pairs[..] else { panic!("{pairs:?}") };
        assert!(matches!(pickle.object(key), Some(Object::Text(text)) if text == "a"));
        let Some(Object::List(items)) = pickle.object(tuple) else { panic!() };
        assert_eq!(items[..], [Value::Int(1), Value::Int(-2), Value::Bool(true)]);
        let Some(Object::List(items)) = pickle.object(list) else { panic!() };
        // A dictionary that holds itself is no danger.
        assert_eq!(items[..], [Value::None, pickle.root]);
    }

    #[test]
    fn what_would_execute_is_refused_by_name() {
        for (bytes, name) in [
            (&b"cos\nsystem\n(X\x02\x00\x00\x00lstR."[..], "`os.system`"),
            (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "`posix.system`"),
            (b"(X\x02\x00\x00\x00lsios\nsystem\n.", "`os.system`"),
            (b"cbuiltins\neval\n.", "`builtins.eval`"),
            (b"ctorch\nload\n.", "`torch.load`"),
            (b"ctorch._utils\n_rebuild_qtensor\n.", "`torch._utils._rebuild_qtensor`"),
            (b"ctorch\nQInt8Storage\n.", "`torch.QInt8Storage`"),
            (b"cdiffusers.models\nVae\x1b[0m\n.", "`diffusers.models.Vae\\u{1b}[0m`"),
        ] {
            let message = complaint(bytes);
            assert!(message.contains(name) && message.contains("not executed"), "{message}");
        }
        // EXT1, OBJ, NEWOBJ, PERSID, and text opcodes that torch never writes.
        for opcode in [0x82u8, b'o', 0x81, b'P', b'I', b'S'] {
            assert!(complaint(&[0x80, 2, opcode, 1, 1, b'.']).contains(&format!("0x{opcode:02x} at byte 2")));
        }
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00a(K\x01\x8a\x01\xfe\x88tX\x01\x00\x00\x00b](Nh\x00eu.";
        for end in 0..bytes.len() {
            assert!(Pickle::read(&bytes[..end]).is_err(), "{end}");
        }
        for at in 0..bytes.len() {
            for value in 0..=255 {
                let mut bytes = bytes.to_vec();
                bytes[at] = value;
                let _ = Pickle::read(&bytes);
            }
        }
        assert!(complaint(b"h\x07.").contains("refers to object 7"));
        assert!(complaint(b"NNR.").contains("calls what is no function"));
        assert!(complaint(b"X\xff\xff\xff\xff.").contains("cut off"));
        assert!(complaint(b"N(0t.").contains("more from its stack"));
        let many = [vec![b']'; OBJECT_LIMIT + 1], vec![b'.']].concat();
        assert!(complaint(&many).contains("more than 1048576 objects"));
        let doubled = [vec![b'N'], vec![b'2'; OBJECT_LIMIT], vec![b'.']].concat();
        assert!(complaint(&doubled).contains("more than 1048576 objects"));
    }
}
