"""The versions of everything the tests run that pip does not install.

What pip installs (SeaweedFS, the JDK) is pinned in pyproject.toml and the lock files; Prometheus is Debian's. A range would
not do for Neo4j: maven-metadata ends before the newest versions that resolve.
"""

NEO4J_VERSIONS = ("5.26.31", "2026.09.0")

MAVEN_DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"

JAVA_COMPILER = "org.eclipse.jdt:ecj:3.40.0"
"""The JDK on the package index has no compiler; this one is a single jar, and knows the class files of both versions."""

JARS = {
    "5.26.31": "5ff513a7c2196de08e703fd73ca770a9a001a80327d7889aa4192f1fc4506e76",
    "2026.09.0": "83a5cd4da7701fa812965e78fc74907a087bd90e523421823f87cbbb92cea7b3",
    JAVA_COMPILER: "1fd36339a09cbb52190f984a195610915588e0c087f6dee1b0654cc707cf25ff",
}
"""`java.digest` of the jars that Maven fetches, including dependencies: 213, 230 and one jar."""

DEBIAN_SUITE = "trixie"
"""Debian's release in the base images of the tests, as in Neo4j's own images."""

KUBERNETES = "v1.37.2"
"""Version of k8s.io/kubernetes in Go's module proxy. Its staging modules are v0.37.2."""

PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
"""The last version of the module in the proxy. The module contains the definitions of its kinds."""
