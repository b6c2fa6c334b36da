import assert from "node:assert/strict";
import { hostname } from "node:os";
import { describe, it } from "node:test";
import { containerIdIn, describeResource } from "./resource.ts";

const service = { name: "notes", version: "1.2.3", instanceId: "notes-1" };
const id = "3fd0a1".padEnd(64, "b");

describe("describeResource", () => {
  it("tells of service, host and process, and lets what is given win", async () => {
    const { "container.id": _, ...facts } = await describeResource(service, {
      "service.name": "shop",
      "cloud.region": "eu",
    });
    assert.deepEqual(facts, {
      "service.name": "shop",
      "service.version": "1.2.3",
      "service.instance.id": "notes-1",
      "host.name": hostname(),
      "process.pid": process.pid,
      "process.runtime.name": "nodejs",
      "process.runtime.version": process.versions.node,
      "cloud.region": "eu",
    });
  });
});

describe("containerIdIn", () => {
  const table: readonly (readonly [what: string, groups: string, mounts: string, expected: string | undefined])[] = [
    ["Docker under cgroup v1", `12:cpu:/docker/${id}\n1:name=systemd:/docker/${id}\n`, "", id],
    ["containerd under cgroup v1", `1:cpu:/kubepods/burstable/pod1/cri-containerd-${id}.scope\n`, "", id],
    [
      "Docker under cgroup v2",
      "0::/\n",
      `610 588 8:1 /var/lib/docker/containers/${id}/hostname /etc/hostname rw\n`,
      id,
    ],
    [
      "containerd under cgroup v2",
      "0::/\n",
      `1 2 8:1 /var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/${id}/hostname /etc/hostname rw\n`,
      id,
    ],
    [
      "Podman under cgroup v2",
      "0::/\n",
      `1 2 8:1 /containers/storage/overlay-containers/${id}/userdata/hosts /etc/hosts rw\n`,
      id,
    ],
    [
      "a machine without containers",
      "0::/user.slice/session.scope\n",
      "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
      undefined,
    ],
    ["an id of another length", `1:cpu:/docker/${id}0\n`, "", undefined],
    ["nothing", "", "", undefined],
  ];
  for (const [what, groups, mounts, expected] of table) {
    it(`reads ${what}`, () => assert.equal(containerIdIn(groups, mounts), expected));
  }
});
