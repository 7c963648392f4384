# fish completion for pyrun-oci
# Made by buildkit.pages.make_pages of the tables of options.

# Succeeds if these are the verbs of the line, and nothing of a command follows yet.
function __pyrun_oci_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l key ''
    while set -q words[1]; and contains -- (string trim "$key $words[1]") 'create' 'run' 'start' 'state' 'kill' 'delete' 'exec' 'list' 'ps' 'pause' 'resume' 'update' 'events' 'mounts' 'features' 'spec'
        set key (string trim "$key $words[1]")
        set -e words[1]
    end
    test "$key" = "$argv[1]"
end

# Succeeds if nothing stands behind these verbs.
function __pyrun_oci_alone
    __pyrun_oci_at $argv[1]; or return
    test (count (commandline -opc)) -eq (math 1 + (count (string split -n ' ' -- "$argv[1]")))
end

function __pyrun_oci_store
    set -l words (commandline -opc)
    for index in (seq (count $words))
        if string match -q -- '--root=*' $words[$index]
            printf '%s\n' --root (string replace -- --root= '' $words[$index])
        else if test "$words[$index]" = --root; and set -q words[(math $index + 1)]
            printf '%s\n' --root $words[(math $index + 1)]
        end
    end
end

function __pyrun_oci_image
    pybuild images (__pyrun_oci_store) 2>/dev/null | while read -l name tag rest
        contains -- $name REPOSITORY '<none>'; or printf '%s:%s\n' $name $tag
    end
end

function __pyrun_oci_container
    pyrun ps -a --format '{{.Names}}' (__pyrun_oci_store) 2>/dev/null
end

function __pyrun_oci_inside
    __pyrun_oci_container | string replace -r '$' ':'
end

function __pyrun_oci_volume
    pyrun volume ls -q (__pyrun_oci_store) 2>/dev/null
end

function __pyrun_oci_secret
    pyrun secret ls --format '{{.Name}}' (__pyrun_oci_store) 2>/dev/null
end

function __pyrun_oci_id
    pyrun oci list -q (__pyrun_oci_store) 2>/dev/null
end

complete -c pyrun-oci -f
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a create -d 'make a container of a bundle'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a run -d 'make a container of a bundle, and run it'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a start -d 'run what was created'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a state -d 'show the state of a container'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a kill -d 'send a container a signal'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a delete -d 'remove a container'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a exec -d 'run a command in a container'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a list -d 'list containers'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a ps -d 'show the processes of a container'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a pause -d 'freeze a container'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a resume -d 'let a frozen container go on'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a update -d 'change the limits of a container'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a events -d 'show what a container uses'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a mounts -d 'add or remove mounts of a container that runs'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a features -d 'show what this runtime can do'
complete -c pyrun-oci -n "__pyrun_oci_alone ''" -a spec -d 'write an example configuration'
complete -c pyrun-oci -n "__pyrun_oci_at ''" -l root -r -f -a '(__fish_complete_directories)' -d 'where everything is kept'
complete -c pyrun-oci -n "__pyrun_oci_at ''" -l log -r -F -d 'write errors there as well'
complete -c pyrun-oci -n "__pyrun_oci_at ''" -l log-format -r -f -a 'text json' -d 'of what is written there'
complete -c pyrun-oci -n "__pyrun_oci_at ''" -l cgroup-manager -r -f -a 'cgroupfs' -d 'who makes control groups'
complete -c pyrun-oci -n "__pyrun_oci_at ''" -l debug -d 'let internal errors show where they are'
complete -c pyrun-oci -n "__pyrun_oci_at ''" -l systemd-cgroup -d 'refused'
complete -c pyrun-oci -n "__pyrun_oci_at ''" -s v -l version -d 'show the version, and end'
complete -c pyrun-oci -n "__pyrun_oci_at ''" -s h -l help -d 'show what there is to know, and end'
complete -c pyrun-oci -n "__pyrun_oci_at 'create'" -s b -l bundle -r -f -a '(__fish_complete_directories)' -d 'the directory of the bundle'
complete -c pyrun-oci -n "__pyrun_oci_at 'create'" -s f -l config -r -F -d 'another file than the bundle\'s config.json'
complete -c pyrun-oci -n "__pyrun_oci_at 'create'" -l pid-file -r -F -d 'write its process id there'
complete -c pyrun-oci -n "__pyrun_oci_at 'create'" -l console-socket -r -F -d 'the socket that gets the terminal'
complete -c pyrun-oci -n "__pyrun_oci_at 'create'" -l preserve-fds -r -f -d 'how many descriptors from 3 on it gets'
complete -c pyrun-oci -n "__pyrun_oci_at 'create'" -l no-new-keyring -d 'leave it the session keyring of the caller'
complete -c pyrun-oci -n "__pyrun_oci_at 'create'" -l init -d 'a small init as PID 1'
complete -c pyrun-oci -n "__pyrun_oci_at 'create'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'run'" -s b -l bundle -r -f -a '(__fish_complete_directories)' -d 'the directory of the bundle'
complete -c pyrun-oci -n "__pyrun_oci_at 'run'" -s f -l config -r -F -d 'another file than the bundle\'s config.json'
complete -c pyrun-oci -n "__pyrun_oci_at 'run'" -l pid-file -r -F -d 'write its process id there'
complete -c pyrun-oci -n "__pyrun_oci_at 'run'" -l console-socket -r -F -d 'the socket that gets the terminal'
complete -c pyrun-oci -n "__pyrun_oci_at 'run'" -l preserve-fds -r -f -d 'how many descriptors from 3 on it gets'
complete -c pyrun-oci -n "__pyrun_oci_at 'run'" -l no-new-keyring -d 'leave it the session keyring of the caller'
complete -c pyrun-oci -n "__pyrun_oci_at 'run'" -l init -d 'a small init as PID 1'
complete -c pyrun-oci -n "__pyrun_oci_at 'run'" -s d -l detach -d 'do not wait for it'
complete -c pyrun-oci -n "__pyrun_oci_at 'run'" -l keep -d 'do not remove it when it has ended'
complete -c pyrun-oci -n "__pyrun_oci_at 'run'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'start'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'state'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'kill'" -s a -l all -d 'all there are'
complete -c pyrun-oci -n "__pyrun_oci_at 'kill'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'delete'" -s f -l force -d 'whatever else would be a reason to refuse'
complete -c pyrun-oci -n "__pyrun_oci_at 'delete'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'exec'" -s p -l process -r -F -d 'a process as JSON'
complete -c pyrun-oci -n "__pyrun_oci_at 'exec'" -l cwd -r -f -a '(__fish_complete_directories)' -d 'working directory'
complete -c pyrun-oci -n "__pyrun_oci_at 'exec'" -s u -l user -r -f -d 'who it runs as'
complete -c pyrun-oci -n "__pyrun_oci_at 'exec'" -l pid-file -r -F -d 'write its process id there'
complete -c pyrun-oci -n "__pyrun_oci_at 'exec'" -l console-socket -r -F -d 'the socket that gets the terminal'
complete -c pyrun-oci -n "__pyrun_oci_at 'exec'" -l preserve-fds -r -f -d 'how many descriptors from 3 on it gets'
complete -c pyrun-oci -n "__pyrun_oci_at 'exec'" -s e -l env -r -f -d 'set a variable'
complete -c pyrun-oci -n "__pyrun_oci_at 'exec'" -s c -l cap -r -f -d 'a capability to grant'
complete -c pyrun-oci -n "__pyrun_oci_at 'exec'" -s t -l tty -d 'give it a terminal'
complete -c pyrun-oci -n "__pyrun_oci_at 'exec'" -s d -l detach -d 'do not wait for it'
complete -c pyrun-oci -n "__pyrun_oci_at 'exec'" -l no-new-privs -d 'no set-uid program works'
complete -c pyrun-oci -n "__pyrun_oci_at 'exec'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'list'" -s f -l format -r -f -a 'table json' -d 'the form of what is printed'
complete -c pyrun-oci -n "__pyrun_oci_at 'list'" -s q -l quiet -d 'ids or names alone'
complete -c pyrun-oci -n "__pyrun_oci_at 'ps'" -s f -l format -r -f -a 'table json' -d 'the form of what is printed'
complete -c pyrun-oci -n "__pyrun_oci_at 'ps'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'pause'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'resume'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -s r -l resources -r -F -d 'limits as JSON'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -s m -l memory -r -f -d 'memory limit'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l memory-reservation -r -f -d 'memory that it should keep to if others need it'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l memory-swap -r -f -d 'limit of memory and swap together'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l cpu-period -r -f -d 'of --cpu-quota, in microseconds'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l cpu-quota -r -f -d 'processor time in each period, in microseconds'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l cpu-burst -r -f -d 'time that may be saved up, in microseconds'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l cpu-share -l cpu-shares -r -f -d 'share of processor time'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l cpu-rt-period -r -f -d 'of --cpu-rt-runtime, in microseconds'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l cpu-rt-runtime -r -f -d 'real-time in each period, in microseconds'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l cpu-idle -r -f -d '1'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l cpuset-cpus -r -f -d 'processors to run on'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l cpuset-mems -r -f -d 'memory nodes to use'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l pids-limit -r -f -d 'how many processes there may be'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -l blkio-weight -r -f -d 'share of input and output, 10 to 1000'
complete -c pyrun-oci -n "__pyrun_oci_at 'update'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'events'" -l interval -r -f -d 'between two reports'
complete -c pyrun-oci -n "__pyrun_oci_at 'events'" -l stats -d 'once, and end'
complete -c pyrun-oci -n "__pyrun_oci_at 'events'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'mounts'" -f -a 'add remove'
complete -c pyrun-oci -n "__pyrun_oci_at 'mounts'" -f -a '(__pyrun_oci_id)'
complete -c pyrun-oci -n "__pyrun_oci_at 'mounts'" -F
complete -c pyrun-oci -n "__pyrun_oci_at 'spec'" -s b -l bundle -r -f -a '(__fish_complete_directories)' -d 'the directory of the bundle'
complete -c pyrun-oci -n "__pyrun_oci_at 'spec'" -l rootless -d 'for a user without root'
