import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.Base64;
import java.util.UUID;
import java.util.function.Predicate;
import org.neo4j.dbms.archive.Dumper;
import org.neo4j.dbms.archive.backup.BackupCompressionFormat;
import org.neo4j.dbms.archive.backup.BackupDescription;
import org.neo4j.dbms.archive.backup.BackupFormatSelector;
import org.neo4j.io.fs.DefaultFileSystemAbstraction;
import org.neo4j.kernel.database.DatabaseIdFactory;
import org.neo4j.storageengine.api.StoreId;

/**
 * Writes .backup artifacts with Neo4j's own writer classes: the truth that readers and writers of ours are held against.
 *
 * <p>Arguments: a folder to pack as the store. Standard input: an artifact a line, its fields parted by tabs: file to write,
 * database, database id, creation time and random of the store id, seconds since 1970, lowest, highest, recovered,
 * compressed, full, metadata script in base64 (empty: none). The classes are Neo4j's inner ones and differ between 5.26 and
 * 2026.09: what differs is called by reflection, so that one source serves both.
 */
public final class ArtifactWriter {
    public static void main(String[] arguments) throws Exception {
        Path store = Path.of(arguments[0]);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] field = line.split("\t", -1);
            boolean compressed = Boolean.parseBoolean(field[9]);
            BackupDescription description = new BackupDescription(
                    field[1],
                    new StoreId(Long.parseLong(field[3]), Long.parseLong(field[4]), "record", "aligned", 1, 1),
                    DatabaseIdFactory.from(UUID.fromString(field[2])),
                    LocalDateTime.ofEpochSecond(Long.parseLong(field[5]), 0, ZoneOffset.UTC),
                    Boolean.parseBoolean(field[8]),
                    compressed,
                    Boolean.parseBoolean(field[10]),
                    Long.parseLong(field[6]),
                    Long.parseLong(field[7]));
            if (!field[11].isEmpty()) {
                byte[] script = Base64.getDecoder().decode(field[11]);
                description = description.withMetadataScript(new String(script, StandardCharsets.UTF_8));
            }
            BackupCompressionFormat format = format(compressed);
            format.setMetadata(description);
            write(store, Path.of(field[0]), format);
        }
    }

    private static BackupCompressionFormat format(boolean compressed) throws Exception {
        for (Method method : BackupFormatSelector.class.getMethods()) {
            boolean ofFlag = method.getParameterCount() == 1 && method.getParameterTypes()[0] == boolean.class;
            if (ofFlag) { // selectFormat on 5.26, selectWriteFormat on 2026
                return (BackupCompressionFormat) method.invoke(null, compressed);
            }
        }
        throw new IllegalStateException("BackupFormatSelector has no method that takes a boolean");
    }

    private static void write(Path store, Path target, BackupCompressionFormat format) throws Exception {
        try (DefaultFileSystemAbstraction files = new DefaultFileSystemAbstraction()) {
            Dumper dumper = new Dumper(files);
            Predicate<Path> nothingLeftOut = path -> false;
            try { // 2026
                Class<?> manifest = Class.forName("org.neo4j.dbms.archive.Manifest");
                Class<?> output = Class.forName("org.neo4j.dbms.archive.Dumper$DumpOutput");
                Object file = Class.forName("org.neo4j.dbms.archive.Dumper$FileOutput")
                        .getMethod("of", org.neo4j.io.fs.FileSystemAbstraction.class, Path.class)
                        .invoke(null, files, target);
                Object listing = Dumper.class
                        .getMethod("collectManifest", Path.class, Path.class, Predicate.class)
                        .invoke(null, store, store, nothingLeftOut);
                Dumper.class
                        .getMethod("dump", output, Class.forName("org.neo4j.dbms.archive.Dumper$DumpFormat"), manifest)
                        .invoke(dumper, file, format, listing);
            } catch (ClassNotFoundException isOlder) { // 5.26
                OutputStream stream = (OutputStream)
                        Dumper.class.getMethod("openForDump", Path.class, boolean.class).invoke(dumper, target, false);
                Class<?> anyFormat = Class.forName("org.neo4j.dbms.archive.CompressionFormat");
                Dumper.class
                        .getMethod("dump", Path.class, Path.class, OutputStream.class, anyFormat, Predicate.class)
                        .invoke(dumper, store, store, stream, format, nothingLeftOut);
            }
        }
    }
}
