//! The plugin's table of functions, and the one way to call them: whether the plugin has the
//! function is checked before each call, and its errors become ours.
//!
//! Every function of the C API takes one struct, which belongs to no other function. So the type of
//! the arguments names the function: [`Table::call`] with a `PJRT_Client_Create_Args` calls
//! `PJRT_Client_Create`.

use std::ffi::c_char;
use std::mem::offset_of;
use std::path::Path;
use std::ptr::NonNull;
use std::slice;

use super::bindings::*;
use super::error::{Error, ErrorCode, Result};

/// A function of the table, where the plugin has it.
pub(super) type Function<A> = Option<unsafe extern "C" fn(*mut A) -> *mut PJRT_Error>;

/// The arguments of a function of the C API.
pub(super) trait Entry: Sized {
    /// The function.
    const NAME: &'static str;
    /// Where the table has it.
    const OFFSET: usize;

    /// All zeros, but for the size, by which the plugin knows how many fields we know.
    fn new() -> Self;
}

/// Ties functions to their arguments. That the table's entry takes them is checked by the compiler.
macro_rules! entries {
    ($($function:ident($arguments:ident, $size:ident);)*) => {$(
        impl Entry for $arguments {
            const NAME: &'static str = stringify!($function);
            const OFFSET: usize = offset_of!(PJRT_Api, $function);

            fn new() -> Self {
                Self { struct_size: $size as usize, ..Self::default() }
            }
        }

        const _: fn(&PJRT_Api) -> Function<$arguments> = |table| table.$function;
    )*};
}

entries! {
    PJRT_Error_GetCode(PJRT_Error_GetCode_Args, PJRT_Error_GetCode_Args_STRUCT_SIZE);
    PJRT_Plugin_Initialize(PJRT_Plugin_Initialize_Args, PJRT_Plugin_Initialize_Args_STRUCT_SIZE);
    PJRT_Plugin_Attributes(PJRT_Plugin_Attributes_Args, PJRT_Plugin_Attributes_Args_STRUCT_SIZE);
    PJRT_Event_Destroy(PJRT_Event_Destroy_Args, PJRT_Event_Destroy_Args_STRUCT_SIZE);
    PJRT_Event_IsReady(PJRT_Event_IsReady_Args, PJRT_Event_IsReady_Args_STRUCT_SIZE);
    PJRT_Event_Await(PJRT_Event_Await_Args, PJRT_Event_Await_Args_STRUCT_SIZE);
    PJRT_Client_Create(PJRT_Client_Create_Args, PJRT_Client_Create_Args_STRUCT_SIZE);
    PJRT_Client_Destroy(PJRT_Client_Destroy_Args, PJRT_Client_Destroy_Args_STRUCT_SIZE);
    PJRT_Client_PlatformName(PJRT_Client_PlatformName_Args, PJRT_Client_PlatformName_Args_STRUCT_SIZE);
    PJRT_Client_PlatformVersion(PJRT_Client_PlatformVersion_Args, PJRT_Client_PlatformVersion_Args_STRUCT_SIZE);
    PJRT_Client_AddressableDevices(
        PJRT_Client_AddressableDevices_Args,
        PJRT_Client_AddressableDevices_Args_STRUCT_SIZE
    );
    PJRT_Client_Compile(PJRT_Client_Compile_Args, PJRT_Client_Compile_Args_STRUCT_SIZE);
    PJRT_Client_BufferFromHostBuffer(
        PJRT_Client_BufferFromHostBuffer_Args,
        PJRT_Client_BufferFromHostBuffer_Args_STRUCT_SIZE
    );
    PJRT_DeviceDescription_Id(PJRT_DeviceDescription_Id_Args, PJRT_DeviceDescription_Id_Args_STRUCT_SIZE);
    PJRT_DeviceDescription_Attributes(
        PJRT_DeviceDescription_Attributes_Args,
        PJRT_DeviceDescription_Attributes_Args_STRUCT_SIZE
    );
    PJRT_DeviceDescription_Kind(PJRT_DeviceDescription_Kind_Args, PJRT_DeviceDescription_Kind_Args_STRUCT_SIZE);
    PJRT_DeviceDescription_ToString(
        PJRT_DeviceDescription_ToString_Args,
        PJRT_DeviceDescription_ToString_Args_STRUCT_SIZE
    );
    PJRT_Device_GetDescription(PJRT_Device_GetDescription_Args, PJRT_Device_GetDescription_Args_STRUCT_SIZE);
    PJRT_Device_MemoryStats(PJRT_Device_MemoryStats_Args, PJRT_Device_MemoryStats_Args_STRUCT_SIZE);
    PJRT_Executable_Destroy(PJRT_Executable_Destroy_Args, PJRT_Executable_Destroy_Args_STRUCT_SIZE);
    PJRT_Executable_NumOutputs(PJRT_Executable_NumOutputs_Args, PJRT_Executable_NumOutputs_Args_STRUCT_SIZE);
    PJRT_Executable_SizeOfGeneratedCodeInBytes(
        PJRT_Executable_SizeOfGeneratedCodeInBytes_Args,
        PJRT_Executable_SizeOfGeneratedCodeInBytes_Args_STRUCT_SIZE
    );
    PJRT_Executable_GetCostAnalysis(
        PJRT_Executable_GetCostAnalysis_Args,
        PJRT_Executable_GetCostAnalysis_Args_STRUCT_SIZE
    );
    PJRT_Executable_Serialize(PJRT_Executable_Serialize_Args, PJRT_Executable_Serialize_Args_STRUCT_SIZE);
    PJRT_Executable_OutputElementTypes(
        PJRT_Executable_OutputElementTypes_Args,
        PJRT_Executable_OutputElementTypes_Args_STRUCT_SIZE
    );
    PJRT_Executable_OutputDimensions(
        PJRT_Executable_OutputDimensions_Args,
        PJRT_Executable_OutputDimensions_Args_STRUCT_SIZE
    );
    PJRT_Executable_GetCompiledMemoryStats(
        PJRT_Executable_GetCompiledMemoryStats_Args,
        PJRT_Executable_GetCompiledMemoryStats_Args_STRUCT_SIZE
    );
    PJRT_Executable_DeserializeAndLoad(
        PJRT_Executable_DeserializeAndLoad_Args,
        PJRT_Executable_DeserializeAndLoad_Args_STRUCT_SIZE
    );
    PJRT_LoadedExecutable_Destroy(PJRT_LoadedExecutable_Destroy_Args, PJRT_LoadedExecutable_Destroy_Args_STRUCT_SIZE);
    PJRT_LoadedExecutable_GetExecutable(
        PJRT_LoadedExecutable_GetExecutable_Args,
        PJRT_LoadedExecutable_GetExecutable_Args_STRUCT_SIZE
    );
    PJRT_LoadedExecutable_AddressableDevices(
        PJRT_LoadedExecutable_AddressableDevices_Args,
        PJRT_LoadedExecutable_AddressableDevices_Args_STRUCT_SIZE
    );
    PJRT_LoadedExecutable_Execute(PJRT_LoadedExecutable_Execute_Args, PJRT_LoadedExecutable_Execute_Args_STRUCT_SIZE);
    PJRT_Buffer_Destroy(PJRT_Buffer_Destroy_Args, PJRT_Buffer_Destroy_Args_STRUCT_SIZE);
    PJRT_Buffer_ReadyEvent(PJRT_Buffer_ReadyEvent_Args, PJRT_Buffer_ReadyEvent_Args_STRUCT_SIZE);
    PJRT_Buffer_ToHostBuffer(PJRT_Buffer_ToHostBuffer_Args, PJRT_Buffer_ToHostBuffer_Args_STRUCT_SIZE);
    PJRT_TopologyDescription_Create(
        PJRT_TopologyDescription_Create_Args,
        PJRT_TopologyDescription_Create_Args_STRUCT_SIZE
    );
    PJRT_TopologyDescription_Destroy(
        PJRT_TopologyDescription_Destroy_Args,
        PJRT_TopologyDescription_Destroy_Args_STRUCT_SIZE
    );
    PJRT_TopologyDescription_PlatformName(
        PJRT_TopologyDescription_PlatformName_Args,
        PJRT_TopologyDescription_PlatformName_Args_STRUCT_SIZE
    );
    PJRT_TopologyDescription_PlatformVersion(
        PJRT_TopologyDescription_PlatformVersion_Args,
        PJRT_TopologyDescription_PlatformVersion_Args_STRUCT_SIZE
    );
    PJRT_TopologyDescription_GetDeviceDescriptions(
        PJRT_TopologyDescription_GetDeviceDescriptions_Args,
        PJRT_TopologyDescription_GetDeviceDescriptions_Args_STRUCT_SIZE
    );
    PJRT_TopologyDescription_Attributes(
        PJRT_TopologyDescription_Attributes_Args,
        PJRT_TopologyDescription_Attributes_Args_STRUCT_SIZE
    );
    PJRT_Compile(PJRT_Compile_Args, PJRT_Compile_Args_STRUCT_SIZE);
}

/// The oldest minor version of the API that has every function above.
const OLDEST_MINOR: i32 = 54;

/// A plugin's table of functions.
#[derive(Clone, Copy)]
pub(super) struct Table(NonNull<PJRT_Api>);

// SAFETY: the table is never written, and the C API's functions may be called from any thread.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    /// The table at this address, if its version is one that we speak. `path` is for the error.
    ///
    /// # Safety
    /// A plugin's `GetPjrtApi` returned it, and the plugin is never unloaded.
    pub(super) unsafe fn new(table: NonNull<PJRT_Api>, path: &Path) -> Result<Table> {
        let table = Table(table);
        let found = table.version();
        let fail = |expected: String, advice| Err(Error::ApiVersion { path: path.into(), found, expected, advice });
        match found {
            (major, minor) if major == PJRT_API_MAJOR as i32 && minor >= OLDEST_MINOR => Ok(table),
            (major, _) if major > PJRT_API_MAJOR as i32 => fail(format!("{PJRT_API_MAJOR}.x"), "an older"),
            _ => fail(format!("{PJRT_API_MAJOR}.{OLDEST_MINOR} or newer"), "a newer"),
        }
    }

    /// Major and minor version of the plugin's API.
    pub(super) fn version(self) -> (i32, i32) {
        // SAFETY: the version comes third in every table, and nothing else is read.
        unsafe {
            let version = &raw const (*self.0.as_ptr()).pjrt_api_version;
            ((*version).major_version, (*version).minor_version)
        }
    }

    /// The function that takes these arguments.
    fn function<A: Entry>(self) -> Result<unsafe extern "C" fn(*mut A) -> *mut PJRT_Error> {
        // SAFETY: the size comes first in every table; an entry is read only where the plugin's
        // table, which may be shorter than ours, has it. Its type is the one that `entries!`
        // checked.
        let function: Function<A> = unsafe {
            let table = self.0.as_ptr();
            let has = (*table).struct_size >= A::OFFSET + size_of::<Function<A>>();
            if has { table.cast::<u8>().add(A::OFFSET).cast::<Function<A>>().read() } else { None }
        };
        function.ok_or(Error::MissingFunction { function: A::NAME, version: self.version() })
    }

    /// Calls the function that takes these arguments.
    ///
    /// # Safety
    /// Pointers among the arguments are what the C API says that this function takes.
    pub(super) unsafe fn call<A: Entry>(self, arguments: &mut A) -> Result<()> {
        let function = self.function::<A>()?;
        // SAFETY: the function is the plugin's for these arguments; that they are right is the
        // caller's promise.
        match NonNull::new(unsafe { function(arguments) }) {
            None => Ok(()),
            // SAFETY: the plugin has just handed over this error.
            Some(error) => Err(unsafe { self.error(A::NAME, error) }),
        }
    }

    /// Calls a function that ends the life of something. What it reports is of use to nobody but a
    /// developer.
    ///
    /// # Safety
    /// As [`Self::call`]; and what is destroyed is not used again.
    pub(super) unsafe fn destroy<A: Entry>(self, arguments: &mut A) {
        // SAFETY: the caller's promise.
        if let Err(error) = unsafe { self.call(arguments) } {
            log::debug!("{error}");
        }
    }

    /// An error in our terms; the plugin's is destroyed.
    ///
    /// # Safety
    /// The plugin handed over this error, and it is not used again.
    unsafe fn error(self, function: &'static str, error: NonNull<PJRT_Error>) -> Error {
        // SAFETY: the error lives until it is destroyed, at the end. These three functions come
        // first in the table, so that every version has them; two of them return nothing.
        unsafe {
            let table = self.0.as_ptr();
            let mut text = PJRT_Error_Message_Args {
                struct_size: PJRT_Error_Message_Args_STRUCT_SIZE as usize,
                error: error.as_ptr(),
                ..Default::default()
            };
            if let Some(message) = (*table).PJRT_Error_Message {
                message(&mut text);
            }
            let message = self::text(text.message, text.message_size);
            let mut code = PJRT_Error_GetCode_Args { error: error.as_ptr(), ..Entry::new() };
            if let Ok(get) = self.function::<PJRT_Error_GetCode_Args>() {
                // It fails for no error that a plugin made.
                let _ = get(&mut code);
            }
            let mut end = PJRT_Error_Destroy_Args {
                struct_size: PJRT_Error_Destroy_Args_STRUCT_SIZE as usize,
                error: error.as_ptr(),
                ..Default::default()
            };
            if let Some(destroy) = (*table).PJRT_Error_Destroy {
                destroy(&mut end);
            }
            Error::Plugin { function, code: ErrorCode(code.code), message }
        }
    }
}

/// Text of the plugin's, copied.
///
/// # Safety
/// Null, or so many bytes that can be read.
pub(super) unsafe fn text(start: *const c_char, bytes: usize) -> String {
    // SAFETY: the caller's promise.
    String::from_utf8_lossy(unsafe { list(start.cast::<u8>(), bytes) }).into_owned()
}

/// A list of the plugin's.
///
/// # Safety
/// Null, or so many values that can be read for as long as the result is used.
pub(super) unsafe fn list<'a, T>(start: *const T, count: usize) -> &'a [T] {
    if start.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(start, count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(major: i32, minor: i32, struct_size: usize) -> PJRT_Api {
        let mut api = PJRT_Api { struct_size, ..Default::default() };
        api.pjrt_api_version.major_version = major;
        api.pjrt_api_version.minor_version = minor;
        api
    }

    fn open(api: &mut PJRT_Api) -> Result<Table> {
        // SAFETY: no plugin, but a table that outlives its use here and has no functions.
        unsafe { Table::new(NonNull::from(api), Path::new("plugin.so")) }
    }

    #[test]
    fn versions_that_we_do_not_speak_are_refused() {
        let old = open(&mut table(0, 13, 500)).err().unwrap().to_string();
        assert_eq!(old, "plugin.so: speaks PJRT API 0.13, expected 0.54 or newer; install a newer plugin");
        let new = open(&mut table(1, 0, 5000)).err().unwrap().to_string();
        assert_eq!(new, "plugin.so: speaks PJRT API 1.0, expected 0.x; install an older plugin");
        assert!(open(&mut table(0, 117, 5000)).is_ok());
    }

    #[test]
    fn functions_beyond_the_table_or_null_are_not_called() {
        for size in [PJRT_Compile_Args::OFFSET, size_of::<PJRT_Api>()] {
            let mut api = table(0, 81, size);
            let table = open(&mut api).unwrap();
            // SAFETY: there is no function to call.
            let error = unsafe { table.call(&mut PJRT_Compile_Args::new()) }.unwrap_err();
            assert!(matches!(error, Error::MissingFunction { function: "PJRT_Compile", version: (0, 81) }), "{error}");
            assert!(error.is_unimplemented());
        }
    }
}
