package backup;

import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.UUID;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.neo4j.cli.AbstractAdminCommand;
import org.neo4j.cli.CommandFailedException;
import org.neo4j.cli.CommandProvider;
import org.neo4j.cli.CommandType;
import org.neo4j.cli.ExecutionContext;
import org.neo4j.commandline.dbms.DumpCommand;
import org.neo4j.configuration.Config;
import org.neo4j.configuration.GraphDatabaseSettings;
import org.neo4j.dbms.archive.Dumper;
import org.neo4j.dbms.archive.backup.BackupCompressionFormat;
import org.neo4j.dbms.archive.backup.BackupDescription;
import org.neo4j.dbms.archive.backup.BackupFormatSelector;
import org.neo4j.io.fs.FileSystemAbstraction;
import org.neo4j.io.layout.DatabaseLayout;
import org.neo4j.io.layout.Neo4jLayout;
import org.neo4j.kernel.database.DatabaseIdFactory;
import org.neo4j.memory.EmptyMemoryTracker;
import org.neo4j.memory.MemoryTracker;
import org.neo4j.storageengine.api.StoreId;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/**
 * A stand-in for Enterprise's `database backup`: a jar that adds the command to Neo4j Community's neo4j-admin.
 *
 * <p>Real are the JVM, its flags, AdminTool and picocli, the configuration, a page cache over the store with the check
 * whether it needs recovery, and the packing by Neo4j's classes. But the store comes from a folder
 * ($STANDIN_STORES/databases and /transactions) instead of a server's port, so Netty and the catchup protocol are not
 * loaded, and the store never needs recovery. Only FULL is supported.
 */
@Command(name = "backup", description = "Stand-in: copies a store from a folder and packs it as an artifact.")
public final class BackupCommand extends AbstractAdminCommand {
    @Option(names = "--type")
    private String type = "AUTO";

    @Option(names = "--from", split = ",")
    private List<String> from = List.of();

    @Option(names = "--to-path")
    private Path target;

    @Option(names = "--temp-path")
    private Path staging;

    @Option(names = "--pagecache")
    private String pagecache = "8m";

    @Option(names = "--include-metadata")
    private String metadata = "all";

    @Parameters(arity = "1")
    private String database;

    /** Registers the command with AdminTool. */
    public static final class Provider implements CommandProvider {
        @Override
        public Object createCommand(ExecutionContext context) {
            return new BackupCommand(context);
        }

        @Override
        public CommandType commandType() {
            return CommandType.BACKUP;
        }
    }

    BackupCommand(ExecutionContext context) {
        super(context);
    }

    @Override
    protected void execute() throws Exception {
        if (type.equals("DIFF")) {
            throw new CommandFailedException("Failed to run a backup using the available strategies: only FULL is supported.");
        }
        Path stores = Path.of(System.getenv("STANDIN_STORES"));
        Path home = Files.createDirectories(staging.resolve("home"));
        Config config = createPrefilledConfigBuilder()
                .set(GraphDatabaseSettings.neo4j_home, home)
                .set(GraphDatabaseSettings.pagecache_memory, size(pagecache))
                .build();
        DatabaseLayout layout = Neo4jLayout.of(config).databaseLayout(database);
        say("Start full backup of database '%s'.", database);
        say("Using remote server %s for backup of database '%s'.", from.get(0), database);
        say("Start receiving store files for database '%s'.", database);
        copy(stores.resolve("databases").resolve(database), layout.databaseDirectory());
        say("Finished receiving store files for database '%s', took 1s.", database);
        say("Start receiving transactions for database '%s' at 1.", database);
        copy(stores.resolve("transactions").resolve(database), layout.getTransactionLogsDirectory());
        say("Finished receiving transactions for database '%s' at 15, took 1s.", database);
        say("Finished full backup of database '%s'.", database);
        say("Start recovering database '%s'.", database);
        if (needsRecovery(ctx.fs(), layout, config)) {
            throw new CommandFailedException("The stand-in needs a store that was shut down cleanly; this one was not.");
        }
        say("Finished recovering database '%s', took 1s.", database);
        LocalDateTime now = LocalDateTime.now(ZoneOffset.UTC).withNano(0);
        String stamp = now.format(DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH-mm-ss"));
        Path artifact = target.resolve(database + "-" + stamp + ".backup");
        say("Start creating artifact '%s'.", artifact);
        BackupCompressionFormat format = format();
        format.setMetadata(new BackupDescription(
                database,
                storeId(layout),
                DatabaseIdFactory.from(UUID.nameUUIDFromBytes(database.getBytes(StandardCharsets.UTF_8))),
                now, true, true, true, 1, 15));
        pack(ctx.fs(), layout, artifact, format);
        say("Finished artifact creation '%s', took 1s.", artifact);
        say("Backup completed successfully.");
        delete(home);
    }

    private void say(String text, Object... words) {
        String now = LocalDateTime.now(ZoneOffset.UTC).format(DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss.SSS"));
        ctx.out().println(now + "+0000 INFO  [c.n.b.b.BackupOutputMonitor] " + String.format(text, words));
    }

    private static long size(String text) {
        long unit = text.endsWith("m") ? 1 << 20 : 1 << 10; // as core/command.py writes it
        return Long.parseLong(text.substring(0, text.length() - 1)) * unit;
    }

    private static void copy(Path source, Path folder) throws Exception {
        Files.createDirectories(folder);
        try (Stream<Path> files = Files.list(source)) {
            for (Path file : (Iterable<Path>) files.sorted()::iterator) {
                if (Files.isDirectory(file)) {
                    copy(file, folder.resolve(file.getFileName().toString()));
                } else {
                    try (InputStream in = Files.newInputStream(file);
                            OutputStream out = Files.newOutputStream(folder.resolve(file.getFileName().toString()))) {
                        in.transferTo(out);
                    }
                }
            }
        }
    }

    private static void delete(Path folder) throws Exception {
        try (Stream<Path> all = Files.walk(folder)) {
            for (Path path : (Iterable<Path>) all.sorted(java.util.Comparator.reverseOrder())::iterator) {
                Files.delete(path);
            }
        }
    }

    /** Opens a page cache over the store, as `dump` does, by a private method that both version lines have. */
    private static boolean needsRecovery(FileSystemAbstraction files, DatabaseLayout layout, Config config)
            throws Exception {
        Method check = DumpCommand.class.getDeclaredMethod(
                "checkRecoveryState",
                FileSystemAbstraction.class, DatabaseLayout.class, Config.class, MemoryTracker.class);
        check.setAccessible(true);
        try {
            return (boolean) check.invoke(null, files, layout, config, EmptyMemoryTracker.INSTANCE);
        } catch (InvocationTargetException thrown) {
            throw new CommandFailedException("the store cannot be opened", (Exception) thrown.getCause());
        }
    }

    /** Reads the store id from a transaction log, at offset 24 (measured on both version lines). */
    private static StoreId storeId(DatabaseLayout layout) throws Exception {
        try (Stream<Path> files = Files.list(layout.getTransactionLogsDirectory())) {
            Path log = files.filter(file -> file.getFileName().toString().startsWith("neostore.transaction.db."))
                    .min(java.util.Comparator.naturalOrder()).orElseThrow();
            try (InputStream in = Files.newInputStream(log)) {
                ByteBuffer bytes = ByteBuffer.wrap(in.readNBytes(256)).position(0x18 + 1);
                long created = bytes.getLong();
                long random = bytes.getLong();
                return new StoreId(created, random, word(bytes), word(bytes), bytes.get(), bytes.get());
            }
        }
    }

    private static String word(ByteBuffer bytes) {
        byte[] word = new byte[bytes.get()];
        bytes.get(word);
        return new String(word, StandardCharsets.UTF_8);
    }

    private static BackupCompressionFormat format() throws Exception {
        for (Method method : BackupFormatSelector.class.getMethods()) {
            if (method.getParameterCount() == 1 && method.getParameterTypes()[0] == boolean.class) {
                return (BackupCompressionFormat) method.invoke(null, true); // selectFormat, or selectWriteFormat on 2026
            }
        }
        throw new IllegalStateException("BackupFormatSelector has no method that takes a boolean");
    }

    private void pack(FileSystemAbstraction files, DatabaseLayout layout, Path artifact, BackupCompressionFormat format)
            throws Exception {
        Dumper dumper = new Dumper(files, ctx.out());
        Predicate<Path> leftOut = path -> path.getFileName().toString().equals("database_lock");
        Path store = layout.databaseDirectory();
        Path logs = layout.getTransactionLogsDirectory();
        try { // 2026
            Class<?> manifest = Class.forName("org.neo4j.dbms.archive.Manifest");
            Object file = Class.forName("org.neo4j.dbms.archive.Dumper$FileOutput")
                    .getMethod("of", FileSystemAbstraction.class, Path.class)
                    .invoke(null, files, artifact);
            Object listing = Dumper.class
                    .getMethod("collectManifest", Path.class, Path.class, Predicate.class)
                    .invoke(null, store, logs, leftOut);
            Dumper.class
                    .getMethod(
                            "dump",
                            Class.forName("org.neo4j.dbms.archive.Dumper$DumpOutput"),
                            Class.forName("org.neo4j.dbms.archive.Dumper$DumpFormat"),
                            manifest)
                    .invoke(dumper, file, format, listing);
        } catch (ClassNotFoundException isOlder) { // 5.26
            OutputStream stream = (OutputStream)
                    Dumper.class.getMethod("openForDump", Path.class, boolean.class).invoke(dumper, artifact, false);
            Dumper.class
                    .getMethod(
                            "dump",
                            Path.class, Path.class, OutputStream.class,
                            Class.forName("org.neo4j.dbms.archive.CompressionFormat"), Predicate.class)
                    .invoke(dumper, store, logs, stream, format, leftOut);
        }
    }
}
