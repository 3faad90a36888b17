# lib.sh - what the tests of several processes share, behind tests/lib.sh.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# no other host is asked, and a core may have several ranks; Open MPI's modules leave memory behind that is not ours
mpirun=(env "ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0" mpirun --oversubscribe --bind-to none --mca btl self,vader,tcp --mca plm isolated --mca rmaps_base_oversubscribe 1)

# need_mpi: ends the script as skipped where there is no launcher or no plugin
need_mpi() {
  command -v mpirun >/dev/null && [ -e "${reward%/*}/libreward_mpi.so" ] && return
  echo "there is no mpirun, or no libreward_mpi.so; make deps brings what they need"
  exit 77
}

# ranks N COMMAND…
ranks() { "${mpirun[@]}" -n "$1" "${@:2}"; }
