import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PipedInputStream;
import java.io.PipedOutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs the main classes of Kafka's command-line tools inside one warm JVM, so that a test pays for a JVM once and not
 * at every call.
 *
 * The port is printed on the first line of stdout. One connection is one call; calls may run side by side. Frames are
 * one type byte, a four byte length and the data. From the caller: 'A' an argument (the first is the main class), 'G'
 * go, 'I' stdin, 'E' end of stdin, 'S' stop (as SIGTERM would). To the caller: 'O' stdout, 'R' stderr, 'X' exit code,
 * the last frame. A caller who hangs up stops the call. When stdin of the JVM ends, it exits.
 *
 * What belongs to a call travels with its threads: System.in, out and err look up the call of the thread that uses
 * them, and a thread inherits the call of the thread that made it. The tools' own classes are loaded anew for every
 * call, because some of them count in static fields; the client classes stay loaded and compiled.
 */
public final class ToolHost {
    private static final InheritableThreadLocal<Call> CURRENT = new InheritableThreadLocal<>();
    private static final Set<Call> RUNNING = ConcurrentHashMap.newKeySet();
    private static final Object RUNTIME_HOOKS_LOCK = new Object();
    private static final PrintStream HOST_OUT = System.out;
    private static final PrintStream HOST_ERR = System.err;

    /** Thrown where a tool wants to end the JVM. */
    private static final class ExitCalled extends Error {
        private static final long serialVersionUID = 1;

        ExitCalled() { super("exit", null, false, false); }
    }

    private static final class Call {
        final DataInputStream in;
        final DataOutputStream out;
        final PipedOutputStream stdinWriter = new PipedOutputStream();
        final PipedInputStream stdin;
        final List<Thread> hooks = new ArrayList<>();
        final ByteArrayOutputStream pending = new ByteArrayOutputStream();
        char pendingType = 'O';
        Integer code;
        Thread main;
        ClassLoader loader;

        Call(Socket socket) throws IOException {
            in = new DataInputStream(socket.getInputStream());
            out = new DataOutputStream(new java.io.BufferedOutputStream(socket.getOutputStream(), 1 << 16));
            stdin = new PipedInputStream(stdinWriter, 1 << 16);
        }

        /** Output is collected and sent in large frames: when there is much of it, when another type of frame
         *  follows, and every few milliseconds by the flusher. */
        void write(char type, byte[] data, int offset, int length) {
            synchronized (out) {
                if (type != pendingType || pending.size() > 1 << 16) {
                    flush();
                }
                pendingType = type;
                pending.write(data, offset, length);
            }
        }

        void flush() {
            synchronized (out) {
                if (pending.size() > 0) {
                    byte[] data = pending.toByteArray();
                    pending.reset();
                    send(pendingType, data, 0, data.length);
                }
            }
        }

        void send(char type, byte[] data, int offset, int length) {
            synchronized (out) {
                flush();
                try {
                    out.writeByte(type);
                    out.writeInt(length);
                    out.write(data, offset, length);
                    out.flush();
                } catch (IOException e) {
                    // The caller hung up; reading its connection notices that and stops the call.
                }
            }
        }

        synchronized void exit(int status) {
            if (code == null) {
                code = status;
            }
        }

        synchronized List<Thread> takeHooks() {
            List<Thread> taken = new ArrayList<>(hooks);
            hooks.clear();
            taken.addAll(takeRuntimeHooks(loader));
            return taken;
        }

        void runHooks() {
            List<Thread> taken = takeHooks();
            for (Thread hook : taken) {
                hook.start();
            }
            for (Thread hook : taken) {
                try {
                    hook.join(30000);
                } catch (InterruptedException e) {
                    return;
                }
            }
        }
    }

    /** Some tools register with the JVM itself. Their hooks are known by the class loader they were made under. */
    @SuppressWarnings("unchecked")
    private static List<Thread> takeRuntimeHooks(ClassLoader loader) {
        List<Thread> taken = new ArrayList<>();
        synchronized (RUNTIME_HOOKS_LOCK) {
            try {
                java.lang.reflect.Field field =
                    Class.forName("java.lang.ApplicationShutdownHooks").getDeclaredField("hooks");
                field.setAccessible(true);
                for (Thread hook : new ArrayList<>(((java.util.Map<Thread, Thread>) field.get(null)).keySet())) {
                    if (loader != null && hook.getContextClassLoader() == loader) {
                        Runtime.getRuntime().removeShutdownHook(hook);
                        taken.add(hook);
                    }
                }
            } catch (ReflectiveOperationException e) {
                throw new IllegalStateException(e);
            }
        }
        return taken;
    }

    /** Some tools call System.exit() themselves. */
    @SuppressWarnings("removal")
    private static final class ExitGuard extends SecurityManager {
        @Override
        public void checkPermission(java.security.Permission permission) { }

        @Override
        public void checkPermission(java.security.Permission permission, Object context) { }

        @Override
        public void checkExit(int status) {
            if (CURRENT.get() != null) {
                exitCall(status);
            }
        }
    }

    private static void exitCall(int status) {
        Call call = CURRENT.get();
        if (call != null) {
            call.exit(status);
        }
        throw new ExitCalled();
    }

    /** Loads the tools' packages itself and leaves everything else to the parent. */
    private static final class ToolLoader extends URLClassLoader {
        ToolLoader(URL[] urls, ClassLoader parent) { super(urls, parent); }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            if (name.startsWith("org.apache.kafka.tools.") || name.startsWith("kafka.tools.")
                    || name.startsWith("kafka.admin.")) {
                synchronized (getClassLoadingLock(name)) {
                    Class<?> c = findLoadedClass(name);
                    return c != null ? c : findClass(name);
                }
            }
            return super.loadClass(name, resolve);
        }
    }

    private static final class CallOutput extends OutputStream {
        private final char type;
        private final PrintStream host;

        CallOutput(char type, PrintStream host) {
            this.type = type;
            this.host = host;
        }

        @Override
        public void write(int b) { write(new byte[] {(byte) b}, 0, 1); }

        @Override
        public void write(byte[] data, int offset, int length) {
            Call call = CURRENT.get();
            if (call == null) {
                host.write(data, offset, length);
                host.flush();
            } else if (call.code == null || Thread.currentThread() != call.main) {
                // A real exit would not have come back to the main thread, so what it says after that is dropped.
                call.write(type, data, offset, length);
            }
        }
    }

    private static final class CallInput extends InputStream {
        @Override
        public int read() throws IOException {
            Call call = CURRENT.get();
            return call == null ? -1 : call.stdin.read();
        }

        @Override
        public int read(byte[] buffer, int offset, int length) throws IOException {
            Call call = CURRENT.get();
            return call == null ? -1 : call.stdin.read(buffer, offset, length);
        }

        @Override
        public int available() throws IOException {
            Call call = CURRENT.get();
            return call == null ? 0 : call.stdin.available();
        }
    }

    private static void runMain(Call call, List<String> args, URL[] toolJars) {
        CURRENT.set(call);
        RUNNING.add(call);
        try (ToolLoader loader = new ToolLoader(toolJars, ToolHost.class.getClassLoader())) {
            Thread.currentThread().setContextClassLoader(loader);
            call.loader = loader;
            String[] rest = args.subList(1, args.size()).toArray(new String[0]);
            try {
                Class.forName(args.get(0), true, loader).getMethod("main", String[].class).invoke(null, (Object) rest);
                call.exit(0);
            } catch (InvocationTargetException e) {
                if (!(e.getCause() instanceof ExitCalled)) {
                    e.getCause().printStackTrace();
                    call.exit(1);
                }
            } catch (Throwable e) {
                e.printStackTrace();
                call.exit(1);
            }
            call.runHooks();
        } catch (IOException e) {
            e.printStackTrace();
        }
        call.exit(0);
        System.out.flush();
        RUNNING.remove(call);
        byte[] status = Integer.toString(call.code).getBytes(StandardCharsets.US_ASCII);
        call.send('X', status, 0, status.length);
    }

    private static void serve(Socket socket, URL[] toolJars) {
        List<String> args = new ArrayList<>();
        Call call = null;
        try (socket) {
            socket.setTcpNoDelay(true);
            call = new Call(socket);
            while (true) {
                int type = call.in.read();
                if (type < 0) {
                    break;
                }
                byte[] data = call.in.readNBytes(call.in.readInt());
                if (type == 'A') {
                    args.add(new String(data, StandardCharsets.UTF_8));
                } else if (type == 'G') {
                    Call started = call;
                    call.main = new Thread(() -> runMain(started, args, toolJars), "call");
                    call.main.start();
                } else if (type == 'I') {
                    call.stdinWriter.write(data);
                    call.stdinWriter.flush();
                } else if (type == 'E') {
                    call.stdinWriter.close();
                } else if (type == 'S') {
                    Call stopping = call;
                    Thread stopper = new Thread(() -> {
                        CURRENT.set(stopping);
                        stopping.runHooks();
                    }, "stop");
                    stopper.start();
                }
            }
        } catch (IOException e) {
            // The same as hanging up.
        }
        if (call != null && call.main != null && call.main.isAlive()) {
            CURRENT.set(call);
            call.runHooks();
            call.main.interrupt();
        }
    }

    @SuppressWarnings("removal")
    public static void main(String[] argv) throws Exception {
        List<URL> toolJars = new ArrayList<>();
        for (String path : System.getProperty("java.class.path").split(java.io.File.pathSeparator)) {
            String name = new java.io.File(path).getName();
            if (name.startsWith("kafka-tools-") || name.startsWith("kafka_2.13-")) {
                toolJars.add(new java.io.File(path).toURI().toURL());
            }
        }
        URL[] urls = toolJars.toArray(new URL[0]);
        System.setIn(new CallInput());
        System.setOut(new PrintStream(new CallOutput('O', HOST_ERR), true));
        System.setErr(new PrintStream(new CallOutput('R', HOST_ERR), true));
        Exit.Procedure procedure = (status, message) -> exitCall(status);
        System.setSecurityManager(new ExitGuard());
        Exit.setExitProcedure(procedure);
        Exit.setHaltProcedure(procedure);
        Exit.setShutdownHookAdder((name, runnable) -> {
            Call call = CURRENT.get();
            if (call != null) {
                synchronized (call) {
                    call.hooks.add(new Thread(runnable, name));
                }
            }
        });
        Thread flusher = new Thread(() -> {
            while (true) {
                try {
                    Thread.sleep(10);
                } catch (InterruptedException e) {
                    return;
                }
                RUNNING.forEach(Call::flush);
            }
        }, "flusher");
        flusher.setDaemon(true);
        flusher.start();
        ServerSocket server = new ServerSocket(0, 64, InetAddress.getByName("127.0.0.1"));
        Thread acceptor = new Thread(() -> {
            while (true) {
                try {
                    Socket socket = server.accept();
                    Thread t = new Thread(() -> serve(socket, urls), "connection");
                    t.setDaemon(true);
                    t.start();
                } catch (IOException e) {
                    return;
                }
            }
        }, "acceptor");
        acceptor.setDaemon(true);
        acceptor.start();
        HOST_OUT.println(server.getLocalPort());
        HOST_OUT.flush();
        // The parent holds our stdin open for as long as it lives.
        InputStream parent = new java.io.FileInputStream(java.io.FileDescriptor.in);
        while (parent.read() >= 0) {
            continue;
        }
        Runtime.getRuntime().halt(0);
    }
}
