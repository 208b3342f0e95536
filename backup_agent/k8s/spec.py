"""The spec of a cluster: every key with its type and default.

A spec contains names of Secrets and no secret. `backup.settings` is the agent's settings file (docs/settings.md)
without the keys that follow from the rest of the spec. The renderer adds those keys; a spec that has them is refused.
"""

import re
from ipaddress import IPv6Network, ip_network
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, ValidationInfo, field_validator, model_validator

from backup_agent.settings.grammar import CronText, PositiveDuration, Zone, shaped
from backup_agent.settings.section import Section

MEMORY_UNITS = {"Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4}

_QUANTITY = re.compile(rf"([1-9][0-9]{{0,8}})({'|'.join(MEMORY_UNITS)})")
_CPU = re.compile(r"[1-9][0-9]{0,4}m|[1-9][0-9]{0,2}(\.[0-9]{1,3})?|0\.[0-9]{0,2}[1-9]")
_DNS_LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_SUBDOMAIN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_OBJECT_NAME = re.compile(rf"(?=.{{1,253}}$){_SUBDOMAIN}")
_KEY = re.compile(r"(?!\.(\.|$))[A-Za-z0-9._-]{1,253}")
_VERSION = re.compile(r"5\.26(\.[0-9]{1,3})?|20(2[5-9]|[3-9][0-9])\.(0[1-9]|1[0-2])(\.[0-9]{1,3})?")
# Host and port, path, tag, digest: what a kubelet accepts (reference grammar of the project `distribution`).
_IMAGE = re.compile(
    r"(?=.{1,512}$)([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?/)?"
    r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_LABEL_NAME = re.compile(rf"((?=.{{1,253}}/){_SUBDOMAIN}/)?[A-Za-z0-9]([A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_JVM_OPTION = re.compile(r"-[^\s\"'\\$`]+")
_PATH = re.compile(r"(?=.{2,255}$)(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
_SETTING = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)+")
_PLACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")
_REGION = re.compile(r"[a-z0-9-]{1,63}")
_RUNBOOKS = re.compile(r"docs/runbooks|https?://[A-Za-z0-9._~:/@%+-]{1,500}[A-Za-z0-9._~-]")
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?/?")

LONGEST_NAME = 40
"""Maximum length of a cluster's name: a pod label has <name>-server and a hash, and may have 63 characters."""

LONGEST_DOMAIN = 84
"""Maximum length of the DNS domain: a server's DNS name may have 253, and the other parts need the rest."""

OLDEST_LAYOUT: Final = 1
NEWEST_LAYOUT: Final = 1
"""Layouts of the servers' pods: `server.layout`. The default stays the oldest one, whatever is newest."""

SMALLEST_SERVER = "2Gi"
SMALLEST_AGENT = "256Mi"
"""The smallest measured profile (docs/kubernetes.md): a heap of 64 MiB, and the smallest page cache."""


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def memory_bytes(value: str) -> int:
    """Return a quantity of memory or storage in bytes.

    >>> memory_bytes("256Mi")
    268435456
    """
    found = _QUANTITY.fullmatch(value)
    size = int(found[1]) * MEMORY_UNITS[found[2]] if found else 0
    if not 0 < size < 1 << 63:
        raise ValueError("a quantity such as 512Mi, 4Gi or 1Ti")
    return size


def _quantity(value: str) -> str:
    memory_bytes(value)
    return value


def _cidr(value: str) -> str:
    # Kubernetes refuses netmasks, zones and IPv4-mapped IPv6 addresses, which Python accepts.
    expected = "a range of addresses in its usual form, such as 10.0.0.0/8 or 2001:db8::/32"
    try:
        network = ip_network(value)
    except ValueError:
        raise ValueError(expected) from None
    mapped = isinstance(network, IPv6Network) and network.network_address.ipv4_mapped
    if str(network) != value or "%" in value or mapped:
        raise ValueError(expected)
    return value


def _at_least(smallest: str) -> AfterValidator:
    def check(value: str) -> str:
        if memory_bytes(value) < memory_bytes(smallest):
            raise ValueError(f"at least {smallest}")
        return value

    return AfterValidator(check)


ClusterName = Annotated[
    str,
    Field(max_length=LONGEST_NAME, json_schema_extra={"pattern": f"^{_DNS_LABEL.pattern}$"}),
    shaped(_DNS_LABEL, "lower-case letters, digits and '-', a letter first and no '-' at the end"),
]
ObjectName = Annotated[str, shaped(_OBJECT_NAME, "the name of an object: lower-case letters, digits, '-' and '.'")]
Key = Annotated[str, shaped(_KEY, "a key of the Secret: letters, digits, '.', '_' and '-'")]
Neo4jVersion = Annotated[
    str,
    Field(json_schema_extra={"pattern": f"^({_VERSION.pattern})$"}),
    shaped(_VERSION, "a version of Neo4j: 5.26.x, or 2025.01 and later"),
]
Image = Annotated[str, shaped(_IMAGE, "the name of an image, such as neo4j:2026.09.0-enterprise")]
RunbooksAddress = Annotated[
    str, shaped(_RUNBOOKS, "the address of a folder, such as https://docs.example.com/runbooks, without a / at its end")
]
Cpu = Annotated[
    str,
    BeforeValidator(_number_as_text, json_schema_input_type=str | float),
    shaped(_CPU, 'a number of cores, such as "500m" or "2"'),
]
Memory = Annotated[str, AfterValidator(_quantity)]
LabelName = Annotated[str, shaped(_LABEL_NAME, "the name of a label or annotation, such as example.com/team")]
LabelValue = Annotated[str, shaped(_LABEL_VALUE, "at most 63 letters, digits, '.', '_' and '-'")]
Labels = dict[LabelName, LabelValue]
Annotations = dict[LabelName, str]
OWN_LABELS = ("app.kubernetes.io/", "neo4j.com/")
"""Beginnings of labels that the renderer sets itself, and by which operators select pods."""


def _not_own(value: dict[str, str]) -> dict[str, str]:
    if found := [name for name in value if name.startswith(OWN_LABELS)]:
        raise ValueError(f"labels without {', '.join(OWN_LABELS)} at their beginning, unlike {found[0]}")
    return value


MoreLabels = Annotated[Labels, AfterValidator(_not_own)]
Cidr = Annotated[str, AfterValidator(_cidr)]
JvmOption = Annotated[str, shaped(_JVM_OPTION, "one option of java, such as -XX:+UseZGC")]
SettingName = Annotated[str, shaped(_SETTING, "the name of a setting of neo4j.conf")]


def _one_line(value: object) -> object:
    # Runs before the union is validated: otherwise each member of the union reports a fault of its own.
    if not isinstance(value, bool | int | float | str) or re.search(r"[\r\n\0]", str(value)):
        raise ValueError("one line of text, a number, true or false")
    return value


SettingValue = Annotated[
    bool | int | float | str, BeforeValidator(_one_line, json_schema_input_type=bool | int | float | str)
]


def _accepted(value: object) -> object:
    # YAML 1.1 reads a bare yes as true.
    return "yes" if value is True else value


class TopologySpec(Section):
    """The number of servers, and on how many of them a new database starts.

    Servers are identical: Neo4j assigns the roles.
    """

    servers: Annotated[int, Field(ge=1, le=100)] = Field(3, description="number of servers", examples=[5])
    default_primaries: Annotated[int, Field(ge=1, le=11)] | None = Field(
        None, description="primaries of a new database at the first start; without it 3, or 1 on fewer servers"
    )
    default_secondaries: Annotated[int, Field(ge=0, le=20)] = Field(
        0, description="secondaries of a new database at the first start"
    )
    spread: Literal["prefer", "require"] = Field(
        "prefer",
        description="require: each server on a node of its own, or it stays Pending (required anti-affinity); "
        "prefer: on different nodes if possible",
    )
    zones: Literal["prefer", "require"] = Field(
        "prefer",
        description="require: evenly over at least three zones, or a server stays Pending; prefer: over zones if "
        "possible",
    )

    @field_validator("default_primaries")
    @classmethod
    def _have_a_server_each(cls, value: int | None, info: ValidationInfo) -> int | None:
        servers = info.data.get("servers")
        if value is not None and servers is not None and value > servers:
            raise ValueError(f"no more than the {servers} servers")
        return value

    @field_validator("default_secondaries")
    @classmethod
    def _fit_on_the_servers(cls, value: int, info: ValidationInfo) -> int:
        servers = info.data.get("servers")
        if servers is not None and "default_primaries" in info.data:
            primaries = primaries_of(servers, info.data["default_primaries"])
            if primaries + value > servers:
                raise ValueError(
                    f"no more than the {servers} servers together with default_primaries, which is {primaries}"
                )
        return value

    @property
    def primaries(self) -> int:
        """The number of primaries of a new database."""
        return primaries_of(self.servers, self.default_primaries)


def primaries_of(servers: int, asked: int | None) -> int:
    """Return the number of primaries of a new database: `asked`, or else 3, or 1 on fewer than 3 servers.

    Two primaries are not better than one, since a write needs both.
    """
    return asked or (3 if servers >= 3 else 1)  # noqa: PLR2004  the fewest that survive the loss of one


class LoginSecret(Section):
    """A Secret with the name and password of an account of Neo4j."""

    secret: ObjectName = Field(description="name of the Secret", examples=["demo-auth"])
    username_key: Key = Field("username", description="key of the user name")
    password_key: Key = Field("password", description="key of the password")


class Certificate(Section):
    """A certificate of the servers: a Secret with tls.crt and tls.key, as cert-manager writes it.

    If the CA is not a public one, the Secret also has ca.crt.
    """

    secret: ObjectName = Field(description="name of the Secret", examples=["demo-tls"])


class BoltCertificate(Certificate):
    """The certificate of the Bolt port. It must name <cluster>-client and the servers (see the notes of `render`)."""

    own_ca: bool = Field(
        True, description="true: the agent checks it against ca.crt of the Secret; false: against public CAs"
    )


class BackupCertificate(Certificate):
    """The certificate of the backup port. Servers then accept only clients with a certificate of the same CA."""

    agent_secret: ObjectName = Field(
        description="Secret with the agent's own tls.crt, tls.key and ca.crt", examples=["demo-backup-tls"]
    )


class Certificates(Section):
    """The certificates of the servers by kind of connection. A connection without a certificate is not encrypted."""

    bolt: BoltCertificate | None = Field(None, description="Bolt connections of clients and of the agent")
    https: Certificate | None = Field(None, description="HTTPS on 7473 instead of HTTP on 7474")
    cluster: Certificate | None = Field(
        None, description="connections between servers; each checks the certificate of the other"
    )
    backup: BackupCertificate | None = Field(None, description="connections of the agent to the backup port")


class SecretMount(Section):
    """A Secret that is mounted into the servers' containers, such as a trust store or a license."""

    secret: ObjectName = Field(description="name of the Secret", examples=["demo-trust-store"])
    path: Annotated[str, shaped(_PATH, "an absolute path, such as /licenses")] = Field(
        description="folder with a file for each key of the Secret", examples=["/licenses"]
    )


class Claim(Section):
    """A persistent volume claim: size, class and access mode of a volume.

    Kubernetes does not allow changing it in an existing StatefulSet.
    """

    size: Memory = Field(description="size of the volume", examples=["100Gi"])
    storage_class: ObjectName | None = Field(
        None, description="name of a StorageClass; without it the cluster's default"
    )
    access_mode: Literal["ReadWriteOnce", "ReadWriteOncePod"] = Field(
        "ReadWriteOnce", description="ReadWriteOncePod if the driver supports it: then no second pod can ever mount it"
    )


class Placement(Section):
    """The nodes on which pods may run, and the priority of the pods."""

    node_selector: Labels = Field({}, description="labels that a node must have")
    tolerations: tuple[dict[str, JsonValue], ...] = Field(
        (),
        description="tolerations of the pods, as Kubernetes has them",
        examples=[[{"key": "example.com/graphs", "operator": "Exists"}]],
    )
    priority_class: ObjectName | None = Field(None, description="name of a PriorityClass")


class S3Access(Section):
    """How pods log in to S3. With IRSA only the annotation of the service account is needed."""

    credentials_secret: ObjectName | None = Field(
        None,
        description="Secret with the key `credentials`: a file as ~/.aws/credentials is",
        examples=["demo-backup-s3"],
    )
    region: Annotated[str, shaped(_REGION, "the name of a region, such as eu-central-1")] | None = Field(
        None, description="AWS_REGION of the pods", examples=["eu-central-1"]
    )


class ServerS3(S3Access):
    """How the servers log in to S3, with permission to read only: a server fetches the seed of a restore itself."""

    endpoint_url: Annotated[str, shaped(_ENDPOINT, "http:// or https:// with host and port")] | None = Field(
        None, description="URL of the store, if it is not AWS", examples=["https://s3.example.com"]
    )
    path_style: bool = Field(False, description="put the bucket into the path of a URL, not into the host name")


class AgentS3(S3Access):
    """How the agent logs in to S3, with permission to read, write and delete."""

    ca_config_map: ObjectName | None = Field(
        None, description="ConfigMap with the key ca.crt: own CA certificates of destinations with an endpoint_url"
    )


class ServerSpec(Section):
    """The Neo4j servers: image, resources, configuration. They are the StatefulSet <cluster>-server."""

    layout: Literal[1] = Field(
        OLDEST_LAYOUT,
        description="layout of the servers' pods. A newer release renders the pods of a layout as before, and puts its "
        "changes into a new layout; changing this key restarts the servers",
    )
    image: Image | None = Field(None, description="image of the servers; without it neo4j:<version>-enterprise")
    memory: Annotated[Memory, _at_least(SMALLEST_SERVER)] = Field(
        "4Gi", description="request and limit; heap and page cache follow from it"
    )
    cpu: Cpu = Field("1", description="CPU request")
    cpu_limit: Cpu | None = Field(None, description="CPU limit; without it none")
    data: Claim = Field(description="volume for /data", examples=["{size: 100Gi}"])
    config: dict[SettingName, SettingValue] = Field(
        {}, description="more settings of neo4j.conf; those that follow from the spec are faults here"
    )
    jvm_additional: tuple[JvmOption, ...] = Field((), description="more options of the JVM", examples=[["-XX:+UseZGC"]])
    env_from: tuple[ObjectName, ...] = Field(
        (),
        description="Secrets whose keys become variables of the servers; NEO4J_dbms_security_… becomes a setting",
        examples=[["demo-ldap"]],
    )
    secret_mounts: tuple[SecretMount, ...] = Field(
        (), description="Secrets that are mounted: trust stores, licenses", examples=[["{secret: …, path: /licenses}"]]
    )
    metrics: bool = Field(
        False, description="serve Neo4j's metrics on port 2004 to the clients of network.prometheus; a Service for them"
    )
    pod_labels: MoreLabels = Field({}, description="more labels of the servers' pods; a change restarts the servers")
    pod_annotations: Annotations = Field(
        {}, description="annotations of the servers' pods; a change restarts the servers"
    )
    s3: ServerS3 | None = Field(None, description="read-only access to the backups, for restores")
    seeds: bool = Field(
        True,
        description="from 2026.04 on, let restores seed databases from the folder /data/seeds of a server; a change "
        "restarts the servers",
    )
    update: Literal["supervised", "automatic"] = Field(
        "supervised",
        description="how a change restarts the servers. supervised: you delete one pod after the other, as "
        "docs/runbooks/rolling-restart.md says (OnDelete); automatic: Kubernetes does, without looking at databases",
    )
    offline_maintenance: bool = Field(
        False, description="run the servers' pods without Neo4j, for neo4j-admin; the databases are down"
    )
    service_account_annotations: Annotations = Field(
        {},
        description="annotations of the servers' service account",
        examples=[{"eks.amazonaws.com/role-arn": "arn:aws:iam::…"}],
    )
    placement: Placement = Field(Placement(), description="on which nodes the servers may run")
    termination_grace: PositiveDuration = Field(
        "1h", description="time to shut down; Neo4j writes a checkpoint", validate_default=True
    )


class ClientService(Section):
    """The Service <cluster>-client, by which clients reach the servers."""

    type: Literal["ClusterIP", "LoadBalancer"] = Field("ClusterIP", description="kind of Service")
    annotations: Annotations = Field({}, description="annotations of the Service")
    source_ranges: tuple[Cidr, ...] = Field(
        (), description="address ranges that may use the load balancer; without it all"
    )


class Peer(Section):
    """Clients that a NetworkPolicy admits: pods, selected by labels, or a range of addresses.

    Without `namespaces`, the pods are those in the namespace of the cluster.
    """

    namespaces: Labels | None = Field(None, description="labels of namespaces; {} selects all")
    pods: Labels | None = Field(None, description="labels of pods; without it all pods of the selected namespaces")
    cidr: Cidr | None = Field(None, description="a range of addresses, instead of namespaces and pods")

    @model_validator(mode="after")
    def _names_clients(self) -> Self:
        if (self.cidr is None) == (self.namespaces is None and self.pods is None):
            raise ValueError("namespaces, pods or both; or cidr alone")
        return self


class EgressTarget(Peer):
    """Pods or addresses to which the agent may connect."""

    ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], Field(min_length=1)] = Field(
        (443,), description="TCP ports", validate_default=True
    )


class DrillScratch(Section):
    """The volume for the scratch data of a drill. It is deleted with the pod of the job."""

    size: Memory = Field(description="size: the largest chain, and the store that it unpacks to", examples=["50Gi"])
    storage_class: ObjectName | None = Field(
        None, description="name of a StorageClass; without it the cluster's default"
    )
    in_memory: bool = Field(False, description="keep the scratch data in memory; they count for drill_job.memory")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.in_memory and self.storage_class is not None:
            raise ValueError("in_memory or storage_class, not both")
        return self


class DrillJob(Section):
    """A CronJob that drills from a destination, without the agent and its volume (docs/drills.md)."""

    schedule: CronText = Field(description="five fields, as cron(8) means them", examples=["0 10 * * 6"])
    timezone: Zone = Field("UTC", description="IANA zone of the schedule", examples=["Europe/Berlin"])
    place: Annotated[str, shaped(_PLACE, "the name of a destination")] = Field(
        description="destination of the settings from which it drills", examples=["offsite"]
    )
    level: Literal["read", "restore", "check", "query"] = Field("check", description="how far")
    memory: Annotated[Memory, _at_least(SMALLEST_AGENT)] = Field("1Gi", description="request and limit")
    cpu: Cpu = Field("100m", description="CPU request")
    scratch: DrillScratch = Field(description="volume for scratch data", examples=["{size: 50Gi}"])
    credentials_secret: ObjectName | None = Field(
        None,
        description="Secret with the key `credentials`, as for backup.s3: it may read the bucket, and write only below "
        ".drills/",
        examples=["demo-drill-s3"],
    )
    signing_secret: ObjectName | None = Field(
        None,
        description="Secret with the key `key.pem`, which signs the evidence; name its fingerprint in drill.trusted",
        examples=["demo-drill-signing"],
    )
    service_account_annotations: Annotations = Field(
        {}, description="annotations of the job's own service account, which give it an identity at a cloud provider"
    )
    egress: tuple[EgressTarget, ...] | None = Field(
        None, description="what the job may connect to besides DNS; without it port 443 of every address"
    )


class AgentNetwork(Section):
    """The clients that may connect to the agent, and what it may connect to (NetworkPolicy)."""

    egress: tuple[EgressTarget, ...] | None = Field(
        None,
        description="what the agent may connect to besides DNS and the servers, such as buckets; without it everything",
    )

    prometheus: tuple[Peer, ...] = Field(
        (
            Peer(
                namespaces={"kubernetes.io/metadata.name": "monitoring"}, pods={"app.kubernetes.io/name": "prometheus"}
            ),
        ),
        description="clients that may read the metrics; without it pods of Prometheus in the namespace `monitoring`",
    )


class Network(AgentNetwork):
    """The clients that may connect to the servers and to the agent (NetworkPolicies)."""

    clients: tuple[Peer, ...] | None = Field(
        None, description="clients that may use Bolt and HTTP(S) in addition to the agent; without it all"
    )


class Monitoring(Section):
    """Objects for Prometheus and Grafana."""

    service_monitor: bool = Field(False, description="render a ServiceMonitor; its kind must be known to the cluster")
    rules: bool = Field(
        False, description="render a PrometheusRule with the alerts; its kind must be known to the cluster"
    )
    runbooks: RunbooksAddress = Field(
        "docs/runbooks",
        description="where the folder docs/runbooks is published; the alerts and the dashboard link to it",
        examples=["https://docs.example.com/neo4j-backup/runbooks"],
    )
    labels: Labels = Field(
        {}, description="labels of the ServiceMonitor and the PrometheusRule", examples=[{"release": "prometheus"}]
    )
    dashboard: bool = Field(False, description="render a ConfigMap with a Grafana dashboard")
    dashboard_labels: Labels = Field(
        {"grafana_dashboard": "1"}, description="labels by which the sidecar of Grafana finds this ConfigMap"
    )
    interval: PositiveDuration = Field("30s", description="time between two scrapes", validate_default=True)


class AgentSpec(Section):
    """The backup agent: image, resources, volumes, settings. It runs in the pod <cluster>-backup-0."""

    image: Image = Field(
        description="image of the agent, built from container/Containerfile on the servers' version of Neo4j",
        examples=["registry.example.com/neo4j-backup-agent:0.2.0-2026.09.0"],
    )
    auth: LoginSecret | None = Field(
        None, description="Secret with an account of the agent's own; without it <cluster>-backup-auth"
    )
    use_servers_account: bool = Field(False, description="log in with the servers' account instead, an administrator")
    pod_labels: MoreLabels = Field({}, description="more labels of the agent's pod; a change restarts the agent")
    pod_annotations: Annotations = Field({}, description="annotations of the agent's pod; a change restarts the agent")
    memory: Annotated[Memory, _at_least(SMALLEST_AGENT)] = Field(
        "1Gi", description="limit; heap and page cache of neo4j-admin follow from it"
    )
    cpu: Cpu = Field("100m", description="CPU request")
    cpu_limit: Cpu | None = Field(None, description="CPU limit; without it none")
    storage: Claim = Field(description="volume for /backups", examples=["{size: 200Gi}"])
    requests: Claim = Field(Claim(size="1Gi"), description="volume for /backup-requests")
    keep_everything: bool = Field(
        False, description="delete nothing on the volume; else settings.retention says what is kept"
    )
    s3: AgentS3 | None = Field(None, description="access to the destinations")
    drill_job: DrillJob | None = Field(None, description="a CronJob that drills from a destination")
    signing_secret: ObjectName | None = Field(
        None,
        description="Secret with the key `key.pem`: the agent's signing key (docs/signing.md)",
        examples=["demo-signing"],
    )
    notify_secret: ObjectName | None = Field(
        None,
        description="Secret with the URLs of receivers: each key is a file in /run/secrets/notify (docs/notify.md)",
        examples=["demo-notify"],
    )
    service_account_annotations: Annotations = Field(
        {},
        description="annotations of the agent's service account",
        examples=[{"eks.amazonaws.com/role-arn": "arn:aws:iam::…"}],
    )
    placement: Placement = Field(Placement(), description="on which nodes the agent may run")
    settings: dict[str, JsonValue] = Field(
        {},
        description="the agent's settings file (docs/settings.md), without what follows from the rest of the spec",
        examples=[{"retention": {"daily": 14}}],
    )


class CommonSpec(Section):
    """What the specs of a cluster and of an agent alone have in common."""

    cluster_label: ClassVar[str] = "neo4j.com/cluster"
    """Label of all objects and pods; its value is the name of the cluster."""

    cluster: ClusterName = Field(description="name of the cluster; all objects begin with it", examples=["demo"])
    namespace: ObjectName = Field("default", description="namespace of all objects")
    version: Neo4jVersion = Field(description="version of Neo4j on the servers", examples=["2026.09.0"])
    accept_license: Annotated[Literal["yes", "eval"], BeforeValidator(_accepted)] = Field(
        description="that you accept Neo4j's commercial license (yes) or its evaluation license (eval)",
        examples=["yes"],
    )
    labels: MoreLabels = Field({}, description="more labels of all objects, but not of pods and claims")
    annotations: Annotations = Field({}, description="annotations of all objects, but not of pods and claims")
    pod_user: Literal["fixed", "assigned"] = Field(
        "fixed",
        description="user of the pods: 7474 (Pod Security restricted; on OpenShift the SCC nonroot-v2), or the one "
        "that the Kubernetes cluster assigns (OpenShift's SCC restricted-v2)",
    )
    image_pull_secrets: tuple[ObjectName, ...] = Field((), description="Secrets for the registry of the images")
    image_pull_policy: Literal["IfNotPresent", "Always"] = Field(
        "IfNotPresent", description="pull policy of the images"
    )
    monitoring: Monitoring = Field(Monitoring(), description="objects for Prometheus and Grafana")
    backup: AgentSpec = Field(description="the agent", examples=["{image: …, storage: {size: 200Gi}}"])

    @property
    def own_account(self) -> LoginSecret:
        """The account of the agent's own."""
        return self.backup.auth or LoginSecret(secret=f"{self.cluster}-backup-auth")

    @property
    def at(self) -> tuple[int, ...]:
        """The first two numbers of the version. The names of Neo4j's settings depend on them."""
        return tuple(int(number) for number in self.version.split(".")[:2])


class ClusterSpec(CommonSpec):
    """The spec of a Neo4j cluster and its backup agent."""

    cluster_domain: Annotated[ObjectName, Field(max_length=LONGEST_DOMAIN)] = Field(
        "cluster.local", description="DNS domain of the Kubernetes cluster"
    )
    topology: TopologySpec = Field(TopologySpec(), description="number of servers, and of copies of a new database")
    auth: LoginSecret = Field(
        description="Secret with the initial account; it must exist before the servers, the user name must be neo4j, "
        "the password have 8 characters or more, no '/', and no '-' first",
        examples=["{secret: demo-auth}"],
    )
    tls: Certificates = Field(Certificates(), description="TLS certificates by use")
    server: ServerSpec = Field(description="the servers", examples=["{data: {size: 100Gi}}"])
    client_service: ClientService = Field(ClientService(), description="the Service that clients connect to")
    network: Network = Field(Network(), description="which pods and addresses may connect")

    @property
    def agent_auth(self) -> LoginSecret:
        """The account with which the agent logs in."""
        return self.auth if self.backup.use_servers_account else self.own_account
