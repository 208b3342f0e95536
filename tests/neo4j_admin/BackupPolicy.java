import java.nio.file.Path;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;
import org.neo4j.configuration.Config;
import org.neo4j.configuration.ssl.SslPolicyScope;
import org.neo4j.io.fs.DefaultFileSystemAbstraction;
import org.neo4j.logging.NullLogProvider;
import org.neo4j.ssl.SslPolicy;
import org.neo4j.ssl.config.SslPolicyLoader;

/** Loads the backup policy of a neo4j.conf as neo4j-admin would, and tells how many authorities its client would trust. */
public class BackupPolicy {
    public static void main(String[] arguments) throws Exception {
        var config = Config.newBuilder().fromFile(Path.of(arguments[0])).build();
        var policies =
                SslPolicyLoader.create(new DefaultFileSystemAbstraction(), config, NullLogProvider.getInstance());
        var policy = policies.getPolicy(SslPolicyScope.BACKUP);
        System.out.println(policy.nettyClientContext().isClient());
        for (var field : SslPolicy.class.getDeclaredFields()) {
            if (field.getType() == TrustManagerFactory.class) {
                field.setAccessible(true);
                var trust = (X509TrustManager) ((TrustManagerFactory) field.get(policy)).getTrustManagers()[0];
                System.out.println(trust.getAcceptedIssuers().length);
            }
        }
    }
}
